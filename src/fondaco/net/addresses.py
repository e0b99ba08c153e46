"""Which addresses are public places, and why another is not. Pure: no names, no network.

`ipaddress.is_global` is not enough: it lets multicast, NAT64, 6to4 and some anycast blocks through, and knows of no
cloud's metadata service. An IPv6 address is taken only from what IANA gives out as global unicast (2000::/3), which
leaves out IPv4-mapped, -compatible and -translated ones, NAT64, link-local, unique local and multicast at once.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

_IPV4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "metadata"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_IPV6_GLOBAL = IPv6Network("2000::/3")

_IPV6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "documentation"),
    )
)

# Outside 2000::/3 all is refused; these only say why.
_IPV6_ELSEWHERE: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("ff00::/8", "multicast"),
    )
)

_ISATAP = (0x00005EFE, 0x02005EFE)
"""Upper half of an interface id whose lower half is an IPv4 address."""


def not_public(address: Address) -> str | None:
    """What kind of address it is instead (`loopback`, `private` …); None for a public one."""
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _IPV4 if address in network), None)
    if address not in _IPV6_GLOBAL:
        return next((kind for network, kind in _IPV6_ELSEWHERE if address in network), "reserved")
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return "ISATAP"
    return next((kind for network, kind in _IPV6 if address in network), None)

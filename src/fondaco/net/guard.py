"""Decides to which addresses a URL's host may be connected: it resolves the name once, and every answer counts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

import psutil

from fondaco.net.addresses import Address, not_public
from fondaco.net.errors import Refused, TooSlow, Unreachable
from fondaco.net.places import Place, place_of

RESOLVE_SECONDS = 5.0
MAX_ADDRESSES = 8

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host's addresses as text, the best first. Raises OSError where there are none."""


class Guard:
    def __init__(
        self,
        allow_hosts: Iterable[str] = (),
        ports: Iterable[int] = (80, 443),
        *,
        resolve: Resolve | None = None,
        own: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """`allow_hosts` are `host` or `host:port`, for which nothing is refused but a port that neither they nor
        `ports` name. `own` tells this machine's addresses, which are refused however public they are."""
        self._allowed = {_named(text) for text in allow_hosts}
        self._ports = frozenset(ports)
        self._resolve = resolve or SystemResolver()
        self._own = own or own_addresses

    def place(self, url: str) -> Place:
        """Raises Refused for a URL that is refused whatever its host resolves to."""
        place = place_of(url)
        if place.port not in self._ports and not self._names_port(place):
            raise Refused("its port is not one of those that are fetched from", reason="bad_port")
        if self._exempt(place):
            return place
        if place.local_name:
            raise Refused("its host is a name of a private network", reason="private_address")
        if place.address is not None:
            _check([place.address], self._own())
        return place

    async def addresses(self, place: Place) -> tuple[Address, ...]:
        """What `place` may be connected to. Raises Refused, Unreachable or TooSlow.

        A single answer that is not public refuses the name: honest ones have none.
        """
        if place.address is not None:
            return (place.address,)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = [ip_address(text) for text in await self._resolve(place.host, place.port)]
        except TimeoutError:
            raise TooSlow from None
        except (OSError, ValueError):
            raise Unreachable("there is no such host", reason="no_such_host") from None
        if not found:
            raise Unreachable("there is no such host", reason="no_such_host")
        if not self._exempt(place):
            _check(found, self._own())
        return tuple(dict.fromkeys(found))[:MAX_ADDRESSES]

    def _exempt(self, place: Place) -> bool:
        return (place.host, None) in self._allowed or self._names_port(place)

    def _names_port(self, place: Place) -> bool:
        return (place.host, place.port) in self._allowed


class SystemResolver:
    """The system's resolver, on threads of its own: a slow name server must not hold up what else threads do here."""

    def __init__(self, threads: int = 16) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)


def own_addresses() -> list[str]:
    return [
        found.address
        for interface in psutil.net_if_addrs().values()
        for found in interface
        if found.family in (socket.AF_INET, socket.AF_INET6)
    ]


def _named(text: str) -> tuple[str, int | None]:
    """A host as places have it, and the port that stands with it."""
    bare_ipv6 = text.count(":") > 1 and not text.startswith("[")
    try:
        place = place_of(f"http://[{text}]" if bare_ipv6 else f"http://{text}")
    except Refused:
        return text, None  # no URL has such a host
    return place.host, place.url.explicit_port


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def _check(found: Iterable[Address], own: Iterable[str]) -> None:
    mine = {ip_address(text.partition("%")[0]) for text in own}
    for address in found:
        kind = not_public(address) or ("this machine's own" if address in mine else None)
        if kind is not None:
            raise Refused(f"its address is not public ({kind})", reason="private_address")

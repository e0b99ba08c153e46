"""Which addresses and URLs are refused before anything is connected."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from fondaco.content import ContentLeak
from fondaco.net.addresses import not_public
from fondaco.net.errors import Refused
from fondaco.net.guard import Guard
from fondaco.net.places import MAX_URL, place_of
from fondaco.settings import NetSettings

PUBLIC = ["8.8.8.8", "93.184.216.34", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.254"]
PUBLIC += [
    "2606:2800:220:1:248:1893:25c8:1946",
    "2a00:1450:4001:82a::200e",
    "2001:4860:4860::8888",
    "2003::1",
]

KINDS = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.169.254": "link-local",
    "169.254.170.2": "link-local",
    "168.63.129.16": "metadata",
    "192.0.0.192": "reserved",
    "192.0.2.7": "documentation",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "192.88.99.1": "6to4",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:127.0.0.1": "IPv4-mapped",
    "::ffff:8.8.8.8": "IPv4-mapped",
    "::ffff:0:127.0.0.1": "reserved",
    "64:ff9b::7f00:1": "NAT64",
    "64:ff9b::808:808": "NAT64",
    "64:ff9b:1::a00:1": "NAT64",
    "100::1": "reserved",
    "2001::7f00:1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "benchmarking",
    "2001:10::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "documentation",
    "3fff::1": "documentation",
    "2002:7f00:1::1": "6to4",
    "2002:a00:1::": "6to4",
    "2606:4700::5efe:127.0.0.1": "ISATAP",
    "2606:4700::200:5efe:10.0.0.1": "ISATAP",
    "2620:4f:8000::1": "reserved",
    "fc00::1": "private",
    "fd00:ec2::254": "private",
    "fe80::1": "link-local",
    "fec0::1": "private",
    "ff02::1": "multicast",
    "4000::1": "reserved",
    "5f00::1": "reserved",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_let_through(text: str) -> None:
    assert not_public(ip_address(text)) is None


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_every_other_address_is_told_by_its_kind(text: str, kind: str) -> None:
    assert not_public(ip_address(text)) == kind


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://example.com", "example.com", 80),
        (" https://Example.COM./a?b#c ", "example.com", 443),
        ("http://example.com:8080/", "example.com", 8080),
        ("https://bücher.example/x", "xn--bcher-kva.example", 443),
        ("http://8.8.8.8/", "8.8.8.8", 80),
        ("http://[2606:4700::1111]/", "2606:4700::1111", 80),
        ("http://a_b.example.com/", "a_b.example.com", 80),
        ("http://1.example.com/%20?q=a%0Ab", "1.example.com", 80),
        ("http://example.com/@user:pass", "example.com", 80),
    ],
)
def test_plain_urls_are_read(url: str, host: str, port: int) -> None:
    place = place_of(url)
    assert (place.host, place.port) == (host, port)
    assert place.url.fragment == ""


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "http:example.com",
        "http:/example.com",
        "http:///example.com",
        "http://",
        "http://:80/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:text/html,hi",
        "javascript://example.com/%0aalert(1)",
        "http://user@example.com/",
        "http://user:pass@example.com/",
        "http://example.com@evil.example/",
        "http://a.example\\@b.example/",
        "http://a.example\\b.example/",
        "http://a example.com/",
        "http://example.com/a b",
        "http://exa\tmple.com/",
        "http://example.com/\r\nHost: x",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://exam%70le.com/",
        "http://[::1",
        "http://[fe80::1%25eth0]/",
        "http://[v1.fe80::a]/",
        "http://a..example.com/",
        "http://example.com../",
        "http://-a.example.com/",
        "http://" + "a" * 64 + ".com/",
        "http://" + "a." * 130 + "com/",
        "http://example.com/" + "a" * MAX_URL,
        "http://exam\u2100ple.com/",
        "http://a\ud800.com/",
    ],
)
def test_what_two_readers_could_take_for_different_places_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        place_of(url)


def test_only_listed_ports_are_fetched_from_and_an_allowed_host_names_its_own() -> None:
    guard = Guard(["search.example:8888", "wiki.example"], (80, 443))
    for good in (
        "http://a.example/",
        "https://a.example/",
        "http://search.example:8888/",
        "http://wiki.example/",
    ):
        guard.place(good)
    for bad in ("http://a.example:8888/", "http://wiki.example:8888/", "http://search.example:22/"):
        with pytest.raises(Refused) as refused:
            guard.place(bad)
        assert refused.value.reason == "bad_port"


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("[::1]", "http://[::1]/"),
        ("::1", "http://[0:0::1]/"),
        ("0:0:0:0:0:0:0:1", "http://[::1]/"),
        ("[::1]:8080", "http://[::1]:8080/"),
        ("Wiki.Internal.", "http://wiki.internal/"),
        ("wiki.internal.:8080", "http://wiki.internal:8080/"),
        ("b\u00fccher.internal", "http://xn--bcher-kva.internal/"),
    ],
)
def test_an_allowed_host_may_be_spelled_as_in_a_url(allowed: str, url: str) -> None:
    assert NetSettings(allow_hosts=(allowed,)).allow_hosts == (allowed,)
    Guard([allowed]).place(url)
    with pytest.raises(Refused):
        Guard(["other.internal"]).place(url)


@pytest.mark.parametrize(
    "field", [{"allow_hosts": [text]} for text in ("", "http://wiki", "wiki/", "*.internal", "10.0.0.0/8", "a b", "u@h")]
    + [{"ports": [port]} for port in (0, -1, 65536)],
)  # fmt: skip
def test_what_names_no_host_or_port_is_refused_by_the_settings(
    field: dict[str, list[str] | list[int]],
) -> None:
    with pytest.raises(ValidationError, match=next(iter(field))):
        NetSettings.model_validate(field)


def test_neither_places_nor_errors_show_what_was_asked() -> None:
    place = place_of("http://canary.example/secret")
    assert "canary" not in repr(place)
    with pytest.raises(ContentLeak):
        str(place)
    with pytest.raises(Refused) as refused:
        Guard().place("http://canary.localhost/secret")
    assert "canary" not in f"{refused.value} {refused.value!r} {refused.value.sentence}"

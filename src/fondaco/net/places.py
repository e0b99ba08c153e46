"""Where a URL leads, read strictly: what two readers could take for different places is refused.

The host is looked at as aiohttp will use it, after IDNA. A host that ends in a number is an IPv4 address in one of its
many spellings (octal, hex, one number, three) unless it is the plain one; so all others are refused.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urljoin

from yarl import URL

from fondaco.content import Sealed
from fondaco.net.addresses import Address
from fondaco.net.errors import Refused

MAX_URL = 8192

_STRUCTURE = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)")
# Blanks and control characters, a backslash (some read it as a slash), and lone surrogates.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff]")
_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
_LOCAL = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa", "onion")


class Place(Sealed):
    """`host` is a name in lower case without a dot at its end, or an address as its standard text."""

    url: URL
    host: str
    port: int
    address: Address | None = None
    """Where the host is an address."""

    @property
    def local_name(self) -> bool:
        """The host's name is one that private networks use."""
        return self.address is None and ("." not in self.host or _ends_in(self.host, _LOCAL))


def place_of(text: str) -> Place:
    """Raises Refused for what is no plain http(s) URL."""
    text = text.strip(" \t\r\n")
    if len(text) > MAX_URL:
        raise Refused(f"it has more than {MAX_URL} characters", reason="bad_url")
    found = _STRUCTURE.match(text)
    if found is None or _FORBIDDEN.search(text):
        raise _bad()
    if found["scheme"].lower() not in ("http", "https"):
        raise Refused("only http and https URLs are fetched", reason="bad_scheme")
    if "@" in found["authority"]:
        raise Refused("a URL with a user name in it is not fetched", reason="bad_url")
    if "%" in found["authority"]:
        raise _bad()
    try:
        url = URL(text).with_fragment(None)
        host, port = url.raw_host, url.port
    except (ValueError, UnicodeError):
        raise _bad() from None
    if not host or not port:
        raise _bad()
    if ":" in host:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise _bad() from None
        if address.scope_id is not None:
            raise _bad()
        return Place(url, str(address), port, address)
    host = host.lower().removesuffix(".")
    if _NUMBER.fullmatch(host):
        try:
            ipv4 = IPv4Address(host)
        except ValueError:
            raise Refused("its host is an address in an unusual spelling", reason="bad_address") from None
        return Place(url.with_host(host), host, port, ipv4)
    if not _NAME.fullmatch(host):
        raise _bad()
    return Place(url, host, port)


def redirected(place: Place, location: str) -> str:
    """The URL that a `Location` means, as text. Raises Refused for what could be read in two ways."""
    location = location.strip(" \t")
    if _FORBIDDEN.search(location):
        raise _bad()
    try:
        return urljoin(str(place.url), location)
    except ValueError:
        raise _bad() from None


def _bad() -> Refused:
    return Refused("it is not a valid URL", reason="bad_url")


def _ends_in(host: str, suffixes: tuple[str, ...]) -> bool:
    return any(host == suffix or host.endswith("." + suffix) for suffix in suffixes)

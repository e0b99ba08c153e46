"""The guarded fetcher: one GET of a foreign URL, bounded in bytes, time and redirects.

Each hop resolves its host once and connects to those addresses alone: the connector knows no other, and each socket is
checked again as it is made. No cookies, no credentials, no referrer, no proxy, no connection kept for later.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from email.message import Message
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from fondaco import __version__
from fondaco.content import Sealed
from fondaco.net.addresses import Address
from fondaco.net.errors import BadAnswer, TooLarge, TooManyRedirects, TooSlow, Unreachable
from fondaco.net.guard import Guard
from fondaco.net.inflation import ENCODINGS, Damaged, Encoding, Inflation, encoding_of
from fondaco.net.places import Place, redirected

MAX_REDIRECTS = 5
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
AT_ONCE = 16
"""Fetches that run together; more wait, within their own time."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PIECES_IN_A_ROW = 16


class Fetched(Sealed):
    url: str
    """Where it was in the end."""
    content_type: str
    """In lower case, without parameters; empty where none was said."""
    charset: str | None
    body: bytes


class Fetcher:
    """Belongs to one event loop. Holds nothing open between fetches."""

    def __init__(self, guard: Guard, *, max_bytes: int, seconds: float) -> None:
        """`max_bytes` bounds each body, as it comes and as it is decoded; `seconds` bounds a fetch with all its hops."""
        self._guard = guard
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(
        self, url: str, *, accept: str = "*/*", max_bytes: int | None = None, redirects: int = MAX_REDIRECTS
    ) -> Fetched:
        """What the URL leads to, with a status of 200 to 299. Raises FetchError."""
        limit = min(self._max_bytes, max_bytes or self._max_bytes)
        place = self._guard.place(url)
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                for _ in range(redirects + 1):
                    found = await self._hop(place, accept, limit)
                    if isinstance(found, Fetched):
                        return found
                    place = found
        except TimeoutError:
            raise TooSlow from None
        raise TooManyRedirects

    async def check(self, url: str) -> str:
        """The URL as `fetch` reads it, for another service that is to fetch it for us: it must not read it otherwise.

        Raises what `fetch` would raise before it connects.
        """
        place = self._guard.place(url)
        await self._guard.addresses(place)
        return str(place.url)

    async def _hop(self, place: Place, accept: str, limit: int) -> Fetched | Place:
        addresses = await self._guard.addresses(place)
        async with _session(addresses) as session:
            try:
                async with session.get(
                    place.url,
                    allow_redirects=False,
                    headers={
                        "accept": accept,
                        "accept-encoding": ENCODINGS,
                        "user-agent": f"Mozilla/5.0 (compatible; fondaco/{__version__})",
                    },
                ) as response:
                    if response.status in _REDIRECTS and (location := response.headers.get("location")):
                        return self._guard.place(redirected(place, location))
                    if not 200 <= response.status < 300:
                        raise BadAnswer(status=response.status)
                    encoding = encoding_of(response.headers.get("content-encoding", ""))
                    if encoding is None:
                        raise BadAnswer("its server used an encoding that was not asked for")
                    if (response.content_length or 0) > limit:
                        raise TooLarge
                    body = await _read(response.content, encoding, limit)
                    kind, charset = _content_type(response.headers.get("content-type", ""))
                    return Fetched(str(place.url), kind, charset, body)
            except (aiohttp.ServerTimeoutError, TimeoutError):
                raise TooSlow from None
            except (aiohttp.ClientError, OSError, ValueError):
                raise Unreachable from None


class _NotThere(OSError):
    """A socket was wanted for an address that nobody has checked."""


class _Pinned(AbstractResolver):
    """Answers with what was resolved and checked before."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def _session(addresses: Sequence[Address]) -> AsyncGenerator[aiohttp.ClientSession]:
    checked = frozenset(addresses)

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, where = info
        if ip_address(where[0]) not in checked:
            raise _NotThere
        return socket.socket(family, kind, protocol)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=_Pinned(addresses),
            use_dns_cache=False,
            force_close=True,
            socket_factory=make_socket,
            # Several addresses share the time that one may take.
            happy_eyeballs_delay=0.25,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
        ),
    ) as session:
        yield session


async def _read(content: aiohttp.StreamReader, encoding: Encoding, limit: int) -> bytes:
    """The decoded body. Raises TooLarge past `limit` bytes, before or after decoding."""
    inflation, body, received, pieces = Inflation(encoding), io.BytesIO(), 0, 0
    try:
        async for data in content.iter_any():
            received += len(data)
            if received > limit:
                raise TooLarge
            for piece in inflation.feed(data):
                if body.tell() + len(piece) > limit:
                    raise TooLarge
                body.write(piece)
                pieces += 1
                if pieces % _PIECES_IN_A_ROW == 0:
                    await asyncio.sleep(0)  # a little data may become very much, or be very much work
    except Damaged:
        raise BadAnswer("what its server sent is damaged") from None
    if not inflation.whole:
        raise BadAnswer("what its server sent is damaged")
    return body.getvalue()


def _content_type(header: str) -> tuple[str, str | None]:
    message = Message()
    message["content-type"] = header
    kind = message.get_content_type() if "/" in header else ""
    return kind, message.get_content_charset()

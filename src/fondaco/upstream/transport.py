"""The one seam to engines over HTTP/1.1: a request goes out, an `Exchange` comes back.

Two implementations stand behind it: `relay` (our own, the hot path) and `aiohttp_transport` (the reference it is
tested against, and the way through HTTP proxies).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Protocol

import msgspec


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. `chunk` is the longest silence between two pieces of a body."""

    connect: float = 5.0
    first_byte: float = 300.0
    chunk: float = 120.0


class Target(msgspec.Struct, frozen=True, cache_hash=True):
    """Where an engine listens. Hashable: connections are pooled by it.

    `headers` are sent with each request, already encoded, names in lower case; they hold the engine's credential
    and are therefore never printed.
    """

    host: str
    port: int
    tls: bool = False
    socket: str | None = None
    """Path of a Unix socket; then `host` only fills the Host header."""
    base_path: str = ""
    """What stands before the OpenAI path, such as `/v1`; no slash at its end."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    timeouts: Timeouts = Timeouts()
    proxy: str | None = None

    def __repr__(self) -> str:
        return f"Target({self.socket or f'{self.host}:{self.port}'})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("at", self.socket or f"{self.host}:{self.port}")]


class TransportError(Exception):
    """The exchange failed below HTTP. Carries no payload text."""


class ConnectFailed(TransportError):
    """No connection came about: nothing was sent."""


class ExchangeTimeout(TransportError):
    """The engine was silent for too long."""


class ExchangeBroken(TransportError):
    """The connection ended or spoke nonsense in the middle of an answer."""


class AnswerTooLarge(TransportError):
    """A body went past the limit that the reader gave."""


class Exchange(Protocol):
    """One answer on its way in. Read it by `read` or `chunks`, once; always `aclose` it."""

    status: int
    headers: Mapping[bytes, bytes]
    """Names in lower case; of a repeated name the last value."""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises AnswerTooLarge past `limit` bytes."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """The body piece by piece: all that has arrived since the last piece, joined, never empty."""
        ...

    async def aclose(self) -> None:
        """End it: a body read to its end gives the connection back to the pool, any other closes it at once."""
        ...


class Transport(Protocol):
    def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> Awaitable[Exchange]:
        """Send and wait for the answer's head. `path` is appended to `target.base_path`.

        Raises ConnectFailed, ExchangeTimeout or ExchangeBroken. An idle connection that the engine has closed
        meanwhile is replaced without the caller noticing.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

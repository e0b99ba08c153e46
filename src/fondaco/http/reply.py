"""What an endpoint answers with."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

Header = tuple[bytes, bytes]

_encoder = msgspec.json.Encoder()


class ByteStream(Protocol):
    """A body in pieces. `aclose` frees what stands behind it, whether or not a piece was ever taken."""

    def __aiter__(self) -> ByteStream: ...
    async def __anext__(self) -> bytes: ...
    async def aclose(self) -> None: ...


class Reply:
    """A status, headers, and either a whole body or a stream of its pieces."""

    __slots__ = ("body", "compressible", "headers", "status", "stream")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        content_type: bytes = b"application/json",
        headers: tuple[Header, ...] = (),
        stream: ByteStream | None = None,
        compressible: bool = False,
    ) -> None:
        """`compressible` says that the contract lets this answer be gzipped for clients that take it."""
        self.status = status
        self.body = body
        self.stream = stream
        self.headers: tuple[Header, ...] = ((b"content-type", content_type), *headers)
        self.compressible = compressible


def json_reply(value: Any, status: int = 200) -> Reply:
    """`value` as JSON."""
    return Reply(_encoder.encode(value), status=status)


def stream_reply(stream: ByteStream, headers: tuple[Header, ...] = ()) -> Reply:
    """Server-sent events. Proxies are told not to gather them."""
    return Reply(
        content_type=b"text/event-stream; charset=utf-8",
        headers=((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"), *headers),
        stream=stream,
    )

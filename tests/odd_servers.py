"""A server on loopback that sends what a test says, byte for byte, and counts who connects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class OddServer:
    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.heads: list[bytes] = []
        """Of each request, as it came."""
        self.pages: dict[str, bytes | Serve] = {}
        """By path: a whole answer, or who sends it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def place(self) -> str:
        """As an allowed host."""
        return f"127.0.0.1:{self.port}"

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            path = head.split(b" ", 2)[1].decode("latin-1")
            page = self.pages.get(path) or self.pages.get(path.partition("?")[0]) or answer(b"no", status=404)
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
            else:
                await page(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def odd_server(host: str = "127.0.0.1") -> AsyncGenerator[OddServer]:
    served = OddServer()
    server = await asyncio.start_server(served, host, 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def answer(
    body: bytes = b"", *, status: int = 200, headers: Mapping[str, str] | None = None, length: bool = True
) -> bytes:
    """An HTTP/1.1 answer, after which the connection ends."""
    lines = [f"HTTP/1.1 {status} x", "connection: close"]
    if length:
        lines.append(f"content-length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join((*lines, "", "")).encode() + body


def redirect(to: str, status: int = 302) -> bytes:
    return answer(status=status, headers={"location": to})

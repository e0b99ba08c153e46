"""An engine that says exactly the bytes a test gives it, over TCP, TLS or a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path


class Line:
    """The engine's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()
        """The client's end of the connection is closed."""

    async def head(self) -> bytes:
        """The next request's head; raises IncompleteReadError when the client has left."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """The next request whole."""
        head = await self.head()
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await self._reader.readexactly(int(line[15:]))
        self.requests.append(head + body)
        return head + body

    async def some(self, most: int) -> bytes:
        return await self._reader.read(most)

    async def say(self, *pieces: bytes) -> None:
        """Each piece goes out alone, so that the client's loop reads it alone."""
        for piece in pieces:
            if piece:
                self.writer.write(piece)
                await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    def hang_up(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End with RST, as a killed process may."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass
        self.gone.set()


Script = Callable[[Line], Awaitable[None]]


class ScriptedEngine:
    def __init__(self) -> None:
        self.port = 0
        self.lines: list[Line] = []


@contextlib.asynccontextmanager
async def engine(
    script: Script, *, path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ScriptedEngine]:
    """Runs `script` for each connection; it may end by running into the client's leaving."""
    running = ScriptedEngine()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        line = Line(reader, writer)
        running.lines.append(line)
        try:
            await script(line)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            return
        finally:
            line.gone.set()
            writer.transport.abort()
            tasks.discard(task)

    if path is not None:
        server = await asyncio.start_unix_server(serve, path, ssl=tls)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        # The aborted ends are let go of in the next turns.
        for _ in range(4):
            await asyncio.sleep(0)


def answering(*answers: bytes) -> Script:
    """Each request on each connection gets all of `answers`, piece by piece."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.say(*answers)

    return script

"""A server on loopback with a handler of the test's own, and a client that says and sees every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple

from fondaco.errors import PayloadTooLarge
from fondaco.http.call import Call
from fondaco.http.server import Handle, Limits, Server

PATIENCE = 10.0


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A client's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), "a header came twice"
        return int(status), headers

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer, read as a strict client would."""
        status, headers = await self.head()
        body = b""
        async with asyncio.timeout(PATIENCE):
            if to_head or status in (204, 304):
                pass
            elif headers.get("transfer-encoding") == "chunked":
                assert "content-length" not in headers
                chunks: list[bytes] = []
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    chunks.append(await self.reader.readexactly(size))
                    assert await self.reader.readexactly(2) == b"\r\n"
                assert await self.reader.readexactly(2) == b"\r\n"
                body = b"".join(chunks)
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self.reader.read()
        return Answer(status, headers, body)

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server has closed; a reset counts as an end."""
        got = b""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while piece := await self.reader.read(65536):
                    got += piece
        return got

    async def is_quiet(self, seconds: float = 0.1) -> bool:
        """Neither a byte nor an end comes."""
        try:
            async with asyncio.timeout(seconds):
                await self.reader.read(1)
        except TimeoutError:
            return True
        return False

    def leave(self) -> None:
        """As a client does whose process ends."""
        self.writer.transport.abort()


class Place:
    """Where a server stands."""

    def __init__(self, server: Server, port: int, failures: list[Any]) -> None:
        self.server = server
        self.port = port
        self.failures = failures
        """What the event loop was told of exceptions that nobody met. A test takes out what it means to cause."""
        self.wires: list[Wire] = []

    async def connect(self, *, tls: ssl.SSLContext | None = None, receive: int | None = None) -> Wire:
        """`receive` is the size of the client's receive buffer."""
        sock = socket.socket()
        if receive is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=tls, server_hostname="localhost" if tls else None, limit=1 << 16
        )
        wire = Wire(reader, writer)
        self.wires.append(wire)
        return wire


@contextlib.asynccontextmanager
async def serving(
    handle: Handle, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Place]:
    """Afterwards nothing may be left: no connection, no task, no exception that the test did not take out."""
    loop = asyncio.get_running_loop()
    failures: list[Any] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    before = asyncio.all_tasks()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1000)
    listening.setblocking(False)
    server = Server(handle, limits)
    await server.start(listening, tls)
    place = Place(server, listening.getsockname()[1], failures)
    try:
        yield place
    finally:
        for wire in place.wires:
            wire.leave()
        await server.close()
    await until(lambda: not server.connections)
    await until(lambda: asyncio.all_tasks() <= before)
    assert not failures
    loop.set_exception_handler(None)


async def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def echo(call: Call) -> None:
    """Says what was understood."""
    try:
        body = (await call.json_body()).reveal()
    except PayloadTooLarge:
        call.client.answer(413, (), b"too large")
        return
    said = {
        "method": call.method,
        "path": call.path,
        "query": call.query_string.decode("latin-1"),
        "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()},
        "body": body.decode("latin-1"),
    }
    call.client.answer(200, ((b"content-type", b"application/json"),), json.dumps(said).encode())


def get(path: str = "/", *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "host: x", *headers, "", "")).encode("latin-1")


def post(body: bytes, path: str = "/", *headers: str) -> bytes:
    head = (f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", "")
    return "\r\n".join(head).encode("latin-1") + body


def chunked(*chunks: bytes, path: str = "/", headers: tuple[str, ...] = (), trailers: bytes = b"") -> bytes:
    head = (f"POST {path} HTTP/1.1", "host: x", "transfer-encoding: chunked", *headers, "", "")
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return "\r\n".join(head).encode("latin-1") + body + b"0\r\n" + trailers + b"\r\n"

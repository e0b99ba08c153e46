"""The HTTP/1.1 server: requests in as `Call`s, one task each, answers out.

Written for the hot path: the parser (llhttp) fills a request without a Python frame for each header, an answer is
one write, and a client that leaves cancels its request's task in the moment its connection ends. One timer for all
connections closes those that are idle or slow. See `docs/adr/0007-a-server-of-our-own.md`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools
import msgspec

from fondaco.http.call import Call
from fondaco.http.reply import Header

Handle = Callable[[Call], Awaitable[None]]


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds."""

    body: int = 35 * 1024 * 1024
    head: int = 64 * 1024
    """Request line and headers together."""
    pipelined: int = 16
    """Requests that one connection may send before it has its answers."""
    head_seconds: float = 30.0
    """From a connection's first byte, or an answer's end, to the next request's whole head once it has begun."""
    body_seconds: float = 60.0
    """Longest silence inside a request's body."""
    idle_seconds: float = 75.0
    """How long a connection is kept open for a next request."""
    linger_seconds: float = 2.0
    """How long the rest of a refused body is read and thrown away, so that its sender gets to see the answer."""


_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_BAD_REQUEST = b'{"error":"Invalid HTTP request","code":"INVALID_REQUEST"}'
_HEAD_TOO_LARGE = b'{"error":"Request headers exceed the maximum allowed size.","code":"PAYLOAD_TOO_LARGE"}'
_LOOK_SECONDS = 1.0
_BODILESS = frozenset({204, 304})
_NEVER = float("inf")


class Server:
    """Serves `handle`. `start` it with a listening socket, `drain` and then `close` it."""

    def __init__(self, handle: Handle, limits: Limits | None = None) -> None:
        self.handle = handle
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self._server: asyncio.AbstractServer | None = None
        self._empty: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._date_at = 0
        self._date = b""

    async def start(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        self._server = await self.loop.create_server(lambda: Connection(self), sock=listening, ssl=tls)
        self._look()

    async def drain(self, seconds: float) -> bool:
        """Take no more connections and wait for running requests; True if all ended in that time."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.close_if_idle()
        if self.connections:
            self._empty = self.loop.create_future()
            await asyncio.wait((self._empty,), timeout=seconds)
        return not self.connections

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if self._empty is not None and not self.connections and not self._empty.done():
            self._empty.set_result(None)

    async def close(self) -> None:
        """End at once whatever still runs."""
        self.draining = True
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        tasks = [task for connection in self.connections if (task := connection.abort()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    def date(self) -> bytes:
        """The `date` header's line, made once a second."""
        now = int(self.loop.time())
        if now != self._date_at:
            self._date_at = now
            self._date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        return self._date

    def _look(self) -> None:
        now = self.loop.time()
        for connection in tuple(self.connections):
            if connection.deadline < now:
                connection.abort()
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)


class Connection(asyncio.Protocol):
    """One client's connection: requests one after the other, and the answer to the first that has none yet."""

    __slots__ = (
        "_call",
        "_chunked",
        "_closed",
        "_drained",
        "_head_bytes",
        "_in_head",
        "_keep_alive",
        "_limits",
        "_loop",
        "_parser",
        "_pending",
        "_raw_headers",
        "_reading",
        "_refused",
        "_server",
        "_started",
        "_task",
        "_transport",
        "_url",
        "_whole",
        "deadline",
        "on_header",
        "on_url",
    )

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = server.loop
        self._limits = server.limits
        # Callbacks of the parser that run no Python frame.
        self._raw_headers: dict[bytes, bytes] = {}
        self.on_header: Callable[[bytes, bytes], None] = self._raw_headers.__setitem__
        self._url: list[bytes] = []
        self.on_url: Callable[[bytes], None] = self._url.append
        self._parser = httptools.HttpRequestParser(self)
        self._in_head = False
        self._head_bytes = 0
        self._reading: Call | None = None
        """The request whose body comes in."""
        self._call: Call | None = None
        """The request that is being answered."""
        self._pending: deque[Call] = deque()
        self._task: asyncio.Task[None] | None = None
        self._started = False
        """The answer's head is out."""
        self._whole = False
        """All of the answer is out."""
        self._keep_alive = True
        self._chunked = False
        self._drained: asyncio.Future[None] | None = None
        self._refused = False
        """Nothing more is read: what still comes is thrown away until the connection closes."""
        self._closed = False
        self.deadline = self._loop.time() + self._limits.idle_seconds

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = cast("socket.socket | None", transport.get_extra_info("socket"))
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.connections.add(self)
        if self._server.draining:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._in_head or self._reading is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody here speaks another protocol: the request is answered as it stands, and is the last.
            self._keep_alive = False
            self._refused = True
        except Exception:
            # llhttp's errors, and whatever a callback of ours met: the bytes are not a request.
            self._refuse(400, _BAD_REQUEST)
            return
        if self._in_head and self._head_bytes > self._limits.head:
            self._refuse(431, _HEAD_TOO_LARGE)

    def eof_received(self) -> None:
        # A client that has sent all it will is taken to have left.
        return None

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._server.forget(self)
        self.resume_writing()
        self._pending.clear()
        if self._reading is not None:
            self._reading.hang_up()
        if self._call is not None:
            self._call.gone = True
            self._call.hang_up()
            # An answer that is out already has only its bookkeeping left.
            if self._task is not None and not self._whole:
                self._task.cancel()
        # The parser and its callbacks are a cycle.
        del self._parser

    # Called by the parser.

    def on_message_begin(self) -> None:
        self._in_head = True
        self._url.clear()
        self._raw_headers.clear()
        self.deadline = self._loop.time() + self._limits.head_seconds

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        parser = self._parser
        raw_path, _, query = b"".join(self._url).partition(b"?")
        path = raw_path.decode("latin-1")
        if "%" in path:
            path = unquote(path)
        headers = {name.lower(): value for name, value in self._raw_headers.items()}
        call = Call(self, parser.get_method().decode("latin-1"), path, query, headers)
        if not parser.should_keep_alive():
            call.last = True
        if parser.get_http_version() == "1.0":
            call.old = True
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body:
            call.overflow()
        self._reading = call
        if self._call is None:
            self._begin(call)
        else:
            self._pending.append(call)
            if len(self._pending) >= self._limits.pipelined:
                self._transport.pause_reading()

    def on_body(self, body: bytes) -> None:
        call = self._reading
        if call is not None and not call.too_large:
            self.deadline = self._loop.time() + self._limits.body_seconds
            call.take(body, self._limits.body)

    def on_message_complete(self) -> None:
        call, self._reading = self._reading, None
        if call is not None:
            call.finish()
        self.deadline = _NEVER

    # One request after the other.

    def _begin(self, call: Call) -> None:
        self._call = call
        self._started = self._whole = False
        self._task = self._loop.create_task(self._run(call))

    async def _run(self, call: Call) -> None:
        try:
            await self._server.handle(call)
        except asyncio.CancelledError:
            if not call.gone:
                raise
        finally:
            self._ended(call)

    def _ended(self, call: Call) -> None:
        self._call = self._task = None
        if self._closed:
            return
        if not self._whole:
            # The handler gave up in the middle: only the connection's end can say so.
            self._transport.abort()
        elif not call.complete:
            self._linger()
        elif call.last or not self._keep_alive or self._server.draining:
            self._transport.close()
        elif self._pending:
            self._transport.resume_reading()
            self._begin(self._pending.popleft())
        elif self._reading is None and not self._in_head:
            self.deadline = self._loop.time() + self._limits.idle_seconds

    def _linger(self) -> None:
        """The rest of a body that nobody wants still comes: to close at once could cost its sender the answer."""
        self._refused = True
        self.deadline = self._loop.time() + self._limits.linger_seconds
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _refuse(self, status: int, body: bytes) -> None:
        """Not a request, or one too large to be read: answer it here if no other answer is under way, and close."""
        self._refused = True
        self._keep_alive = False
        self._pending.clear()
        if self._call is None:
            head = self._head(status, ((b"content-type", b"application/json"),), len(body), close=True)
            self._transport.write(head + body)
            self._linger()
        elif self._reading is not None:
            self._reading.hang_up()

    # Called by whoever answers.

    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None:
        """The whole answer in one write. `body` is not sent for HEAD, but counted."""
        call = self._call
        if call is None or self._closed:
            return
        close = call.last or not call.complete or not self._keep_alive or self._server.draining
        head = self._head(status, headers, len(body), close=close)
        self._started = self._whole = True
        self._transport.write(head if call.method == "HEAD" else head + body)

    def begin(self, status: int, headers: Iterable[Header]) -> None:
        """The head of an answer whose length nobody knows; `piece` and `end` follow."""
        call = self._call
        if call is None or self._closed:
            return
        self._started = True
        self._chunked = not call.old
        if call.old:
            call.last = True
        close = call.last or not call.complete or not self._keep_alive or self._server.draining
        self._transport.write(self._head(status, headers, None, close=close))

    def piece(self, data: bytes) -> None:
        if data and not self._closed:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        self._whole = True
        if self._chunked and not self._closed:
            self._transport.write(b"0\r\n\r\n")

    def clogged(self) -> asyncio.Future[None] | None:
        """To be awaited before more is sent: the client does not keep up. None when it does."""
        return self._drained

    def continue_body(self) -> None:
        """Tell a client that waits for permission to send its body."""
        if not self._started and not self._closed:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _head(self, status: int, headers: Iterable[Header], length: int | None, *, close: bool) -> bytes:
        lines = [_STATUS_LINES[status], self._server.date()]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if length is not None:
            if status not in _BODILESS:
                lines.append(b"content-length: %d\r\n" % length)
        elif self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if close:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if head.count(b"\n") != len(lines):
            raise ValueError("a header holds a line break")
        return head

    # Called by the server.

    def close_if_idle(self) -> None:
        """On draining: a connection that waits for its client's next request is closed."""
        if self._call is None and not self._closed:
            self._transport.close()

    def abort(self) -> asyncio.Task[None] | None:
        """Close at once; returns the task that this cancels."""
        task = self._task
        if not self._closed:
            self._transport.abort()
        if task is not None:
            task.cancel()
        return task

"""One client's connection: its bytes in as `Call`s, a task for each in turn, their answers out in the same order.

Written for the hot path: the parser (llhttp) fills a request without a Python frame for each header, an answer is
one write, and a client that leaves cancels its request's task in the moment its connection ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import httptools

from fondaco.http.call import Call
from fondaco.http.heads import (
    BAD_REQUEST,
    BODILESS,
    CHUNKED,
    CLOSE,
    HEAD_TOO_LARGE,
    JSON,
    KEEP_ALIVE,
    SLASH,
    HeadTooLarge,
    head,
    head_size,
    origin_form,
    without_upgrade,
)
from fondaco.http.reply import Header

if TYPE_CHECKING:
    from fondaco.http.server import Server


class Connection(asyncio.Protocol):
    __slots__ = (
        "_again",
        "_call",
        "_cancelled",
        "_chunked",
        "_closed",
        "_drained",
        "_large",
        "_limits",
        "_loop",
        "_open",
        "_parser",
        "_pending",
        "_quiet",
        "_raw_headers",
        "_reading",
        "_refusal",
        "_refused",
        "_server",
        "_started",
        "_task",
        "_transport",
        "_untaken",
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
        self._quiet = 0
        """Bytes since the last whole packet that brought a head's end or some body."""
        self._large = False
        """So much came at once that a head in it may be too large."""
        self._again: bytes | None = None
        """A head to be read once more, without its wish for another protocol."""
        self._reading: Call | None = None
        """The request whose body comes in."""
        self._call: Call | None = None
        """The request that is being answered."""
        self._pending: deque[Call] = deque()
        """Requests that wait for their turn, the oldest first."""
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        self._started = False
        """The answer's head is out."""
        self._open = False
        """Pieces of an answer may follow."""
        self._whole = False
        """All of the answer is out."""
        self._chunked = False
        self._drained: asyncio.Future[None] | None = None
        self._untaken: tuple[asyncio.Future[None] | None, int] = (None, 0)
        """What the client had not taken of its answers when that was last looked at."""
        self._refused = False
        """Nothing more is read: what still comes is thrown away until the connection closes."""
        self._refusal: tuple[int, bytes] | None = None
        """What is answered after all requests that came before the bytes which are none."""
        self._closed = False
        self.deadline = self._loop.time() + self._limits.idle_seconds

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)
        if self._server.draining:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        limit = self._limits.head
        self._quiet += len(data)
        if self._quiet > limit // 2:
            # A head that is larger than the limit has half of that in its first packet or in those that follow.
            self._large = True
        try:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._stay(data, upgrade)
            if self._quiet > limit:
                raise HeadTooLarge
        except Exception as error:
            # llhttp's errors, and whatever a callback of ours met: the bytes are not a request.
            large = isinstance(error, HeadTooLarge) or isinstance(error.__context__, HeadTooLarge)
            self._refuse(HEAD_TOO_LARGE if large else BAD_REQUEST)

    def eof_received(self) -> None:
        # A client that has sent all it will is taken to have left.
        self._pending.clear()
        if self._call is not None and not self._whole:
            self._transport.abort()

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = self._loop.create_future()
            self.deadline = self._loop.time() + self._limits.idle_seconds

    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)
        if self._call is None and self._pending:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._open = False
        self._pending.clear()
        self.resume_writing()
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.hang_up()
        if self._call is None:
            self._server.forget(self)
        else:
            self._call.gone = True
            # An answer that is out already has only its bookkeeping left.
            if not self._whole:
                self._cancel()
        # The parser and its callbacks are a cycle.
        del self._parser

    # Called by the parser.

    def on_message_begin(self) -> None:
        self._url.clear()
        self._raw_headers.clear()
        self.deadline = self._loop.time() + self._limits.head_seconds

    def on_headers_complete(self) -> None:
        self._quiet = 0
        parser = self._parser
        url = b"".join(self._url)
        raw_headers = self._raw_headers
        if self._large and head_size(url, raw_headers) > self._limits.head:
            raise HeadTooLarge
        method = parser.get_method()
        headers = {name.lower(): value for name, value in raw_headers.items()}
        if b"upgrade" in headers and parser.should_upgrade() and method != b"CONNECT":
            self._again = without_upgrade(method, url, parser.get_http_version(), raw_headers)
            return
        raw_path, _, query = url.partition(b"?")
        if raw_path[0] != SLASH:
            raw_path = origin_form(raw_path)
        path = raw_path.decode("ascii")
        if "%" in path:
            path = unquote(path)
        call = Call(self, method.decode("ascii"), path, query, headers)
        if not parser.should_keep_alive():
            call.last = True
        if parser.get_http_version() != "1.1":
            call.old = True
            if b"transfer-encoding" in headers:
                # HTTP/1.0 knows no chunks: whoever passed this on may see its end elsewhere.
                call.last = True
        length = headers.get(b"content-length")
        if length is not None and int(length) > self._limits.body:
            call.overflow()
        self._reading = call
        if self._call is None and self._drained is None:
            self._begin(call)
        else:
            self._pending.append(call)
            if len(self._pending) >= self._limits.pipelined:
                self._transport.pause_reading()

    def on_body(self, body: bytes) -> None:
        self._quiet = 0
        call = self._reading
        if call is not None and not call.too_large:
            self.deadline = self._loop.time() + self._limits.body_seconds
            call.take(body, self._limits.body)
            if call is not self._call and call.size > self._limits.ahead:
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        call, self._reading = self._reading, None
        if call is not None:
            call.finish()

    # One request after the other.

    def _begin(self, call: Call) -> None:
        self._call = call
        self._started = self._whole = False
        self._task = self._loop.create_task(self._run(call))

    def _next(self) -> None:
        call = self._pending.popleft()
        if not call.complete:
            self.deadline = self._loop.time() + self._limits.body_seconds
        if len(self._pending) < self._limits.pipelined:
            self._transport.resume_reading()
        self._begin(call)

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
            self._server.forget(self)
            return
        self.deadline = self._loop.time() + self._limits.idle_seconds
        if not self._whole:
            if self._started or self._refusal is None:
                # The handler gave up in the middle: only the connection's end can say so.
                self._transport.abort()
            else:
                self._say_refusal(self._refusal)
        elif not call.complete:
            self._linger()
        elif call.last or self._server.draining:
            self._pending.clear()
            self._refused = True
            self._transport.close()
        elif self._pending:
            # While the client does not keep up its answers would only gather here: `resume_writing` goes on then.
            if self._drained is None:
                self._next()
        elif self._refusal is not None:
            self._say_refusal(self._refusal)

    def _stay(self, data: bytes, upgrade: Exception) -> None:
        """Nobody here speaks another protocol: a request that would change to one is read as if it had not asked."""
        rest = memoryview(data)
        while True:
            again, self._again = self._again, None
            if again is None:
                # CONNECT: answered as it stands, and nothing can follow it.
                (self._pending[-1] if self._pending else cast("Call", self._call)).last = True
                self._refused = True
                return
            rest = rest[cast("int", upgrade.args[0]) :]
            try:
                self._parser.feed_data(again)
                self._parser.feed_data(rest)
            except httptools.HttpParserUpgrade as further:
                upgrade = further
            else:
                return

    def _refuse(self, refusal: tuple[int, bytes]) -> None:
        """Not a request, or one too large to be read: say so once all that came before are answered, and close."""
        self._refused = True
        self._refusal = refusal
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.hang_up()
            if reading is not self._call:
                self._pending.pop()
            elif not self._started:
                self._cancel()
        if self._call is None and not self._pending:
            self._say_refusal(refusal)

    def _say_refusal(self, refusal: tuple[int, bytes]) -> None:
        status, body = refusal
        lines = [self._server.date(), b"content-length: %d" % len(body), CLOSE]
        self._transport.write(head(status, (JSON,), lines) + body)
        self._linger()

    def _linger(self) -> None:
        """The rest of a body that nobody wants still comes: to close at once could cost its sender the answer."""
        self._refused = True
        self._pending.clear()
        self.deadline = self._loop.time() + self._limits.linger_seconds
        if not self._transport.is_closing():
            self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()

    # Called by whoever answers.

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """The whole answer in one write. `body` is not sent for HEAD, but counted."""
        call = self._call
        if call is None or self._started or self._closed:
            return
        lines = [self._server.date()]
        if status not in BODILESS:
            lines.append(b"content-length: %d" % len(body))
        elif body:
            raise ValueError("an answer of this status has no body")
        if call.last or not call.complete or self._server.draining:
            lines.append(CLOSE)
        elif call.old:
            lines.append(KEEP_ALIVE)
        first = head(status, headers, lines)
        self._started = self._whole = True
        self._transport.write(first if call.method == "HEAD" else first + body)

    def begin(self, status: int, headers: Sequence[Header]) -> None:
        """The head of an answer whose length nobody knows; `piece` and `end` follow."""
        call = self._call
        if call is None or self._started or self._closed:
            return
        lines = [self._server.date()]
        if call.old:
            # Its end is the connection's.
            call.last = True
        else:
            lines.append(CHUNKED)
        if call.last or not call.complete or self._server.draining:
            lines.append(CLOSE)
        first = head(status, headers, lines)
        self._chunked = not call.old
        self._started = True
        self._open = call.method != "HEAD"
        self._transport.write(first)

    def piece(self, data: bytes) -> None:
        if data and self._open:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        self._whole = self._started
        if self._open:
            self._open = False
            if self._chunked:
                self._transport.write(b"0\r\n\r\n")

    def clogged(self) -> asyncio.Future[None] | None:
        """To be awaited before more is sent: the client does not keep up. None when it does."""
        return self._drained

    def continue_body(self) -> None:
        """Tell a client that waits for permission to send its body."""
        if not self._started and not self._closed:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # Called by the server.

    def close_if_idle(self) -> None:
        """On draining: a connection that waits for its client's next request is closed."""
        if self._call is None and not self._refused:
            self._refused = True
            self._pending.clear()
            self._transport.close()

    def overdue(self, now: float) -> None:
        """The deadline has passed. An answer under way has none, but a client must take what it is given."""
        if self._closed:
            return
        call = self._call
        answering = call is not None and (call.complete or self._started)
        untaken = (self._drained, self._transport.get_write_buffer_size())
        if (answering and self._drained is None) or (untaken[1] and untaken != self._untaken):
            self._untaken = untaken
            self.deadline = now + self._limits.idle_seconds
        else:
            self.abort()

    def abort(self) -> asyncio.Task[None] | None:
        """Close at once; returns the task that this cancels."""
        self._pending.clear()
        if not self._closed:
            self._transport.abort()
        return self._cancel()

    def _cancel(self) -> asyncio.Task[None] | None:
        """Once only: a second time would break off what the first one set going."""
        task = self._task
        if task is not None and not self._cancelled:
            self._cancelled = True
            task.add_done_callback(self._never_began)
            task.cancel()
        return task

    def _never_began(self, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs nothing, not even its `finally`."""
        if self._call is not None and self._task is task:
            self._ended(self._call)

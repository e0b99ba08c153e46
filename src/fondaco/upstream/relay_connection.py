"""One HTTP/1.1 connection to an engine: bytes in, the pieces of an answer out, with as little Python as can be.

The parser appends each body piece to `parts` by itself (its callback is the list's own `append`), a waiting reader
is woken by one future, and one timer looks at a deadline now and then instead of being set for each read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import httptools

from fondaco.upstream.transport import ExchangeBroken, ExchangeTimeout, TransportError

if TYPE_CHECKING:
    from fondaco.upstream.relay_pool import Pool

HEAD_LIMIT = 64 * 1024
"""Bytes that may come without any of them being body: heads, interim answers, chunk framing, trailers."""

UNREAD_LIMIT = 1024 * 1024
"""Past this many unread bytes no more is taken from the socket until the reader has caught up."""

WRITE_SLICE = 256 * 1024
"""A longer request body is handed to the socket in slices of this size, each when the one before is gone."""

_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: `ask`, then `take` and `wait` until `done` or `error`, then `release`.

    Only one task reads it. An error is kept in `error` and never set on the future, so that each raise is fresh.
    """

    __slots__ = (
        "_bodiless",
        "_choked",
        "_deadline",
        "_loop",
        "_now",
        "_parser",
        "_paused",
        "_pool",
        "_raw_headers",
        "_timer",
        "_transport",
        "_unread",
        "_unsent",
        "_until_close",
        "_waiter",
        "_without_body",
        "busy",
        "closed",
        "done",
        "error",
        "head",
        "headers",
        "hung_up",
        "idle_until",
        "keep",
        "on_body",
        "on_header",
        "parts",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
        self._loop = loop
        self._now = loop.time
        self._pool = pool
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._paused = False
        self._choked = False
        self._unsent: memoryview | None = None
        self._unread = 0
        self._without_body = 0
        self._bodiless = False
        self._until_close = False

        self.busy = False
        """An exchange is under way; what comes otherwise is unsolicited."""
        self.closed = False
        self.head = False
        """The head of the final answer is in: `status` and `headers` hold."""
        self.done = False
        """The whole answer is in, though `parts` may still be unread."""
        self.error: TransportError | None = None
        self.hung_up = False
        """The engine ended the connection before any byte of this answer."""
        self.keep = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.idle_until = 0.0

        self.parts: list[bytes] = []
        # Callbacks of the parser that run no Python frame. Trailers go to the raw headers too, where nobody looks.
        self.on_body: Callable[[bytes], None] = self.parts.append
        self._raw_headers: dict[bytes, bytes] = {}
        self.on_header: Callable[[bytes, bytes], None] = self._raw_headers.__setitem__
        self._parser = httptools.HttpResponseParser(self)

    # What the transport asks of a connection.

    def ask(self, wire: bytes, rest: bytes, bodiless: bool) -> asyncio.Future[None]:
        """Send a request: `wire` at once, then `rest` as the socket takes it. The future ends with the answer's
        head, or with `error`. `bodiless` says that the answer has no body whatever its head says (HEAD).
        """
        self.busy = True
        self._raw_headers.clear()
        self.head = False
        self.done = False
        self._bodiless = bodiless
        self._until_close = False
        self._unread = 0
        self._without_body = 0
        self._waiter = waiter = self._loop.create_future()
        if self.closed:
            self._end(ExchangeBroken("the engine closed the connection at once"))
            return waiter
        self._deadline = self._now() + self._pool.first_byte
        if self._timer is None:
            self._timer = self._loop.call_later(self._pool.tick, self._tick)
        self._transport.write(wire)
        if rest:
            self._unsent = memoryview(rest)
            self._send_more()
        return waiter

    def wait(self) -> asyncio.Future[None]:
        """Ends when there is something new to take, or with `done` or `error`."""
        self._deadline = self._now() + self._pool.chunk
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def take(self) -> bytes:
        """All that has arrived of the body and is unread, joined."""
        parts = self.parts
        piece = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._unread = 0
        if self._paused:
            self._paused = False
            if not self.closed:
                self._transport.resume_reading()
        return piece

    def release(self) -> None:
        """Give the connection back after an answer read to its end; it is closed if it cannot be used again."""
        # Choked: the engine answered without taking the whole request, so the next one would run into its rest.
        if not self.keep or self.closed or self._choked:
            self.drop()
            return
        self.busy = False
        self.head = False
        self._pool.put(self)

    def drop(self) -> None:
        """Close at once, in whatever state."""
        self._abort()
        if self.busy and not self.done:
            self._end(ExchangeBroken("the connection was closed on our side"))
        self.parts.clear()

    def failure(self) -> TransportError:
        """Why the exchange ended before its end, as an exception to raise."""
        return self.error or ExchangeBroken("the exchange is over")

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = cast("socket.socket | None", transport.get_extra_info("socket"))
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pool.remember(self)

    def data_received(self, data: bytes) -> None:
        had_head = self.head
        size = len(data)
        try:
            if not had_head:
                if not self.busy or self.closed:
                    self.drop()
                    return
                if self._without_body + size > HEAD_LIMIT:
                    # The exact limit: first no more than may be head, then the rest.
                    room = HEAD_LIMIT - self._without_body
                    self._parser.feed_data(data[:room])
                    if not self.head:
                        self._refuse("the answer's head is too long")
                        return
                    data = data[room:]
            self._parser.feed_data(data)
        except Exception:
            # What follows a whole answer costs only the connection.
            self.keep = False
            if not self.done:
                self._refuse("the answer is not valid HTTP")
                return
        if self._bodiless:
            self.parts.clear()
        if self.done:
            pass
        elif self.parts:
            self._without_body = 0
            self._unread += size
            if self._unread > UNREAD_LIMIT and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        else:
            self._without_body += size
            if self._without_body > HEAD_LIMIT:
                self._refuse("the answer's framing is too long")
                return
            if had_head or not self.head:
                return
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def eof_received(self) -> None:
        if self.busy and self.head and self._until_close and not self.done:
            self.done = True
            self._end(None)
        self._lost()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pool.forget(self)
        # The parser and its callbacks are a cycle.
        del self._parser

    def pause_writing(self) -> None:
        self._choked = True

    def resume_writing(self) -> None:
        self._choked = False
        if self._unsent is not None and not self.closed:
            # An engine that still takes the request is not silent.
            if not self.head:
                self._deadline = self._now() + self._pool.first_byte
            self._send_more()

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.done:
            # Bytes past the end of an answer that nobody asked for: whose answer would they be?
            self.keep = False

    def on_headers_complete(self) -> None:
        if self.done:
            raise ExchangeBroken
        status = self._parser.get_status_code()
        if status < 200:
            # Interim answers are passed over; we never ask for an upgrade.
            if status <= 101 and status != 100:
                raise ExchangeBroken
            self._raw_headers.clear()
            return
        self.headers = headers = {name.lower(): value.rstrip() for name, value in self._raw_headers.items()}
        if b"transfer-encoding" in headers:
            # The parser refuses it beside content-length; other codings we cannot undo.
            if headers[b"transfer-encoding"].lower() != b"chunked":
                raise ExchangeBroken
        elif b"content-length" not in headers:
            self._until_close = True
        self.status = status
        self.head = True
        if self._bodiless or status in _NO_BODY:
            # The parser knows nothing of HEAD and would wait for the body.
            self.keep = self._parser.should_keep_alive() and not self._bodiless
            self._bodiless = True
            self.done = True

    def on_message_complete(self) -> None:
        if self.head and not self.done:
            self.done = True
            self.keep = self._parser.should_keep_alive()

    # Private.

    def _send_more(self) -> None:
        unsent = self._unsent
        while unsent is not None and not self._choked and not self.closed:
            self._transport.write(unsent[:WRITE_SLICE])
            unsent = unsent[WRITE_SLICE:] if len(unsent) > WRITE_SLICE else None
        self._unsent = unsent

    def _tick(self) -> None:
        # Runs every `tick` seconds, the shortest wait there is, so it can never come too late for a deadline that was
        # set after it was armed.
        self._timer = None
        if self.closed or not self.busy:
            return
        pause = self._pool.tick
        if self._waiter is not None:
            left = self._deadline - self._now()
            if left <= 0:
                self._end(ExchangeTimeout("the engine was silent for too long"))
                self._abort()
                return
            pause = min(pause, left)
        self._timer = self._loop.call_later(pause, self._tick)

    def _refuse(self, why: str) -> None:
        self._end(ExchangeBroken(why))
        self._abort()

    def _abort(self) -> None:
        if not self.closed:
            self.closed = True
            self._transport.abort()

    def _lost(self) -> None:
        self.closed = True
        self.keep = False
        if self.busy and not self.done and self.error is None:
            self.hung_up = not self.head and self._without_body == 0
            self._end(ExchangeBroken("the connection ended in the middle of an exchange"))

    def _end(self, error: TransportError | None) -> None:
        if self.error is None:
            self.error = error
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

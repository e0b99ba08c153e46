"""The HTTP/1.1 server: listens, keeps its connections' time, and ends them.

Written for the hot path: one timer closes all connections that are idle or slow, and none of them has one of its
own. See `docs/adr/0007-a-server-of-our-own.md`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import msgspec

from fondaco.http.call import Call
from fondaco.http.connection import Connection

Handle = Callable[[Call], Awaitable[None]]


class Limits(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in seconds."""

    body: int = 35 * 1024 * 1024
    head: int = 64 * 1024
    """Request line and headers together. As much may come of what is neither these nor body, such as trailers."""
    pipelined: int = 16
    """Requests that one connection may send before it has its answers. No more is read of one that did."""
    ahead: int = 64 * 1024
    """How much is read of the body of a request that waits for its turn."""
    head_seconds: float = 30.0
    """From the first byte of a request to the first of its body."""
    body_seconds: float = 60.0
    """Longest silence inside a request's body."""
    idle_seconds: float = 75.0
    """From a connection's start, or an answer's end, to the next request. As long may a client take nothing of an
    answer that waits for it."""
    linger_seconds: float = 2.0
    """How long the rest of a refused request is read and thrown away, so that its sender gets to see the answer."""


_LOOK_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class Server:
    """Serves `handle`. `start` it with a listening socket, `drain` and then `close` it."""

    def __init__(self, handle: Handle, limits: Limits | None = None) -> None:
        self.handle = handle
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()
        """Those that are open, and those whose request still ends though its client has left."""
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self._server: asyncio.AbstractServer | None = None
        self._empty: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._date_at = -1
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
        tasks = [task for connection in tuple(self.connections) if (task := connection.abort()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    def date(self) -> bytes:
        """The `date` header's line, made once a second."""
        now = int(self.loop.time())
        if now != self._date_at:
            self._date_at = now
            self._date = f"date: {formatdate(usegmt=True)}".encode()
        return self._date

    def _look(self) -> None:
        self._timer = self.loop.call_later(_LOOK_SECONDS, self._look)
        now = self.loop.time()
        for connection in tuple(self.connections):
            if connection.deadline < now:
                connection.overdue(now)

"""The connections to one target: idle ones kept last-in first-out, and the request heads that never change.

How many are active is not bounded here: admission is decided before a request comes this far.
"""

from __future__ import annotations

import asyncio
import ssl

from fondaco.upstream.relay_connection import Connection
from fondaco.upstream.request_head import is_header_value, request_headers, request_path
from fondaco.upstream.transport import ConnectFailed, Target

_HEADS_KEPT = 64


class Pool:
    __slots__ = (
        "_heads",
        "_idle",
        "_idle_age",
        "_keep_alive",
        "_keep_alive_age",
        "_lead",
        "_loop",
        "_max_idle",
        "_open",
        "_sweeper",
        "_target",
        "_tls",
        "chunk",
        "closed",
        "first_byte",
        "tick",
    )

    def __init__(self, target: Target, tls: ssl.SSLContext | None, max_idle: int, idle_age: float) -> None:
        """`idle_age` in seconds; `tls` is None for plain HTTP. Raises ConnectFailed for headers that cannot be
        sent.
        """
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._tls = tls
        self._max_idle = max_idle
        self._idle_age = idle_age
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._heads: dict[tuple[str, str, bytes | None], bytes] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._keep_alive = b""
        self._keep_alive_age = idle_age
        self._lead = b"".join(b"%b: %b\r\n" % header for header in request_headers(target))
        self.closed = False
        self.first_byte = target.timeouts.first_byte
        self.chunk = target.timeouts.chunk
        self.tick = min(self.first_byte, self.chunk)

    def head(self, method: str, path: str, content_type: bytes | None) -> bytes:
        """The request's head; with a content type it lacks the length and the blank line."""
        key = (method, path, content_type)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _HEADS_KEPT:
                self._heads.clear()
            head = self._heads[key] = self._write_head(method, path, content_type)
        return head

    def take(self) -> Connection | None:
        """The connection that was used last, if one is idle and still good."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                if connection.idle_until > self._loop.time():
                    return connection
                connection.drop()
        return None

    async def connect(self) -> Connection:
        target = self._target
        try:
            async with asyncio.timeout(target.timeouts.connect):
                connection = await self._dial()
        except (OSError, ValueError) as exc:
            # TimeoutError, refused, unresolved, certificate: all are OSErrors; ValueError is a host that is no name.
            raise ConnectFailed(f"{target!r}: {type(exc).__name__}") from None
        if self.closed:
            connection.drop()
            raise ConnectFailed("the transport is closed")
        return connection

    def put(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        age = self._idle_age
        keep_alive = connection.headers.get(b"keep-alive")
        if keep_alive is not None:
            if keep_alive != self._keep_alive:
                self._keep_alive = keep_alive
                self._keep_alive_age = _seconds_promised(keep_alive, age)
            age = self._keep_alive_age
        idle = self._idle
        if age <= 0 or len(idle) >= self._max_idle or self.closed:
            connection.drop()
            return
        connection.idle_until = self._loop.time() + age
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._idle_age, self._sweep)

    def remember(self, connection: Connection) -> None:
        """The connection has come about. (One that fails in its TLS handshake never does, and is never lost.)"""
        self._open.add(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._open.discard(connection)
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)

    async def close(self) -> None:
        """Close all connections, those in use too, and wait until the loop has let go of them."""
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._idle.clear()
        for connection in list(self._open):
            connection.drop()
        # An aborted connection is gone after a turn or two of the loop, with TLS after some more.
        for _ in range(16):
            if not self._open:
                break
            await asyncio.sleep(0)

    async def _dial(self) -> Connection:
        target = self._target
        server_name = target.host if self._tls is not None else None
        if target.socket is not None:
            _, protocol = await self._loop.create_unix_connection(
                self._fresh, target.socket, ssl=self._tls, server_hostname=server_name
            )
        else:
            _, protocol = await self._loop.create_connection(
                self._fresh, target.host, target.port, ssl=self._tls, server_hostname=server_name
            )
        return protocol

    def _fresh(self) -> Connection:
        return Connection(self._loop, self)

    def _sweep(self) -> None:
        now = self._loop.time()
        kept = [connection for connection in self._idle if connection.idle_until > now]
        for connection in self._idle:
            if connection.idle_until <= now:
                connection.drop()
        self._idle = kept
        if kept:
            soonest = min(connection.idle_until for connection in kept)
            self._sweeper = self._loop.call_at(soonest, self._sweep)
        else:
            self._sweeper = None

    def _write_head(self, method: str, path: str, content_type: bytes | None) -> bytes:
        line = f"{method} {request_path(self._target, method, path)} HTTP/1.1\r\n"
        head = line.encode() + self._lead
        if content_type is None:
            return head + b"\r\n"
        if not is_header_value(content_type):
            raise ConnectFailed("the content type holds a forbidden character")
        return head + b"content-type: " + content_type + b"\r\ncontent-length: "


def _seconds_promised(keep_alive: bytes, most: float) -> float:
    """How long an engine that sends `Keep-Alive: timeout=5` may be left idle: a second less than it says."""
    for part in keep_alive.lower().split(b","):
        name, _, value = part.strip().partition(b"=")
        if name == b"timeout" and value.strip().isdigit():
            return min(most, int(value[:9]) - 1.0)
    return most

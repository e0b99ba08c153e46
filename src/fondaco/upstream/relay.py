"""The hot path to engines: our own HTTP/1.1 client, a few microseconds a call.

Speaks plain TCP, TLS and Unix sockets. It knows no proxies: a target with `proxy` goes through `AiohttpTransport`,
which is for the caller to choose (`transports.open_transport` does). Redirects are answers like any other; there are
no cookies, and bodies come as they were sent (`accept-encoding: identity`).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping

from fondaco.upstream.relay_connection import Connection
from fondaco.upstream.relay_pool import Pool
from fondaco.upstream.transport import AnswerTooLarge, ConnectFailed, Target

_ONE_WRITE = 64 * 1024
"""Up to this size a body is copied behind its head, so that both leave in one packet."""

_EXPECTS_BODY = frozenset({"POST", "PUT", "PATCH"})


class RelayTransport:
    """Connections are pooled by target. Belongs to the event loop that it was first used in."""

    def __init__(
        self, *, tls: ssl.SSLContext | None = None, max_idle: int = 256, idle_age: float = 30.0
    ) -> None:
        """`tls` replaces the default context (system's authorities, host names checked). `max_idle` connections a
        target are kept for `idle_age` seconds, or less if the engine's `Keep-Alive` header says so.
        """
        self._tls = tls
        self._max_idle = max_idle
        self._idle_age = idle_age
        self._pools: dict[Target, Pool] = {}
        self._closed = False

    async def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> RelayExchange:
        """Send and wait for the answer's head. `path` is appended to `target.base_path`.

        Raises ConnectFailed, ExchangeTimeout or ExchangeBroken. A request that went out on a connection which the
        engine had kept idle, and which ended before any byte of an answer, is sent once more on a fresh one.
        """
        pool = self._pools.get(target) or self._open_pool(target)
        rest = b""
        if body or method in _EXPECTS_BODY:
            head = pool.head(method, path, content_type)
            if len(body) <= _ONE_WRITE:
                wire = b"%b%d\r\n\r\n%b" % (head, len(body), body)
            else:
                wire = b"%b%d\r\n\r\n" % (head, len(body))
                rest = body
        else:
            wire = pool.head(method, path, None)
        bodiless = method == "HEAD"

        connection = pool.take()
        reused = connection is not None
        if connection is None:
            connection = await pool.connect()
        while True:
            try:
                await connection.ask(wire, rest, bodiless)
            except BaseException:
                connection.drop()
                raise
            if connection.head:
                return RelayExchange(connection)
            if not (reused and connection.hung_up):
                raise connection.failure()
            reused = False
            connection = await pool.connect()

    async def close(self) -> None:
        """Close all connections. Exchanges under way break; later sends raise ConnectFailed."""
        self._closed = True
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.close()

    def _open_pool(self, target: Target) -> Pool:
        if self._closed:
            raise ConnectFailed("the transport is closed")
        if target.tls and self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        pool = Pool(target, self._tls if target.tls else None, self._max_idle, self._idle_age)
        self._pools[target] = pool
        return pool


class RelayExchange:
    """One answer on its way in, and its own iterator. See `transport.Exchange`."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self.status = connection.status
        self.headers: Mapping[bytes, bytes] = connection.headers
        # None once the connection is given back or closed: from then on it may be another exchange's.
        self._connection: Connection | None = connection

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises AnswerTooLarge past `limit` bytes, and closes the connection then."""
        connection = self._connection
        if connection is None:
            return b""
        pieces: list[bytes] = []
        size = 0
        while not connection.done:
            if connection.parts:
                piece = connection.take()
                size += len(piece)
                if size > limit:
                    connection.drop()
                    raise AnswerTooLarge("the answer is longer than its reader allows")
                pieces.append(piece)
            elif connection.error is not None:
                raise connection.failure()
            else:
                try:
                    await connection.wait()
                except BaseException:
                    connection.drop()
                    raise
        piece = connection.take()
        self._connection = None
        connection.release()
        if size + len(piece) > limit:
            raise AnswerTooLarge("the answer is longer than its reader allows")
        if not pieces:
            return piece
        pieces.append(piece)
        return b"".join(pieces)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body piece by piece: all that has arrived since the last piece, joined, never empty."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            raise StopAsyncIteration
        while not connection.parts:
            if connection.done:
                self._connection = None
                connection.release()
                raise StopAsyncIteration
            if connection.error is not None:
                raise connection.failure()
            try:
                await connection.wait()
            except BaseException:
                connection.drop()
                raise
        return connection.take()

    async def aclose(self) -> None:
        """End it: a body read to its end gives the connection back to the pool, any other closes it at once."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            if connection.done and not connection.parts:
                connection.release()
            else:
                connection.drop()

"""The transport over aiohttp: the way through HTTP proxies, and the oracle that `relay` is tested against.

Slower than `relay` by a factor of ten, and otherwise the same to its callers: no redirects, no cookies, no
environment, bodies as they were sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace

import aiohttp
from yarl import URL

from fondaco.upstream.request_head import is_header_value, request_headers, request_path
from fondaco.upstream.transport import (
    AnswerTooLarge,
    ConnectFailed,
    ExchangeBroken,
    ExchangeTimeout,
    Target,
    TransportError,
)

_HEAD_LIMIT = 64 * 1024
_IDLE_AGE = 30.0
_EXPECTS_BODY = frozenset({"POST", "PUT", "PATCH"})


class AiohttpTransport:
    """Connections are pooled by host or socket. Belongs to the event loop that it was first used in."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        """`tls` replaces the default context (system's authorities, host names checked)."""
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}
        self._closed = False

    async def send(
        self,
        target: Target,
        method: str,
        path: str,
        body: bytes = b"",
        content_type: bytes = b"application/json",
    ) -> AiohttpExchange:
        """Send and wait for the answer's head. `path` is appended to `target.base_path`.

        Raises ConnectFailed, ExchangeTimeout or ExchangeBroken. A request that met a connection which the engine had
        closed meanwhile is sent again.
        """
        if self._closed:
            raise ConnectFailed("the transport is closed")
        headers = [
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request_headers(target)
        ]
        data = body if body or method in _EXPECTS_BODY else None
        if data is not None:
            if not is_header_value(content_type):
                raise ConnectFailed("the content type holds a forbidden character")
            headers.append(("content-type", content_type.decode("latin-1")))
        host = f"[{target.host}]" if ":" in target.host else target.host
        whole_path = request_path(target, method, path)
        session = self._session(target.socket)
        timeout = aiohttp.ClientTimeout(
            total=None, connect=target.timeouts.connect, sock_read=target.timeouts.first_byte
        )
        while True:
            attempt = SimpleNamespace(reused=False)
            try:
                url = URL(
                    f"{'https' if target.tls else 'http'}://{host}:{target.port}{whole_path}", encoded=True
                )
                response = await session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    skip_auto_headers=("accept", "content-type", "user-agent"),
                    allow_redirects=False,
                    proxy=target.proxy,
                    timeout=timeout,
                    trace_request_ctx=attempt,
                )
            except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as exc:
                # Each such attempt uses up one idle connection, so this ends.
                if not attempt.reused:
                    raise _translated(target, exc) from None
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                raise _translated(target, exc) from None
            else:
                return AiohttpExchange(target, response)

    async def close(self) -> None:
        """Close all connections. Exchanges under way break; later sends raise ConnectFailed."""
        self._closed = True
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def _session(self, socket: str | None) -> aiohttp.ClientSession:
        session = self._sessions.get(socket)
        if session is None:
            connector: aiohttp.BaseConnector
            if socket is None:
                connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=_IDLE_AGE)
            else:
                connector = aiohttp.UnixConnector(socket, limit=0, keepalive_timeout=_IDLE_AGE)
            trace = aiohttp.TraceConfig()
            trace.on_connection_reuseconn.append(_note_reuse)
            session = self._sessions[socket] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=_HEAD_LIMIT,
                max_field_size=_HEAD_LIMIT,
                trace_configs=[trace],
            )
        return session


class AiohttpExchange:
    """One answer on its way in. See `transport.Exchange`."""

    def __init__(self, target: Target, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Mapping[bytes, bytes] = {name.lower(): value for name, value in response.raw_headers}
        self._target = target
        self._response = response
        connection = response.connection
        if connection is not None and connection.protocol is not None:
            # From the head on the silence between two pieces counts, no longer the wait for the first byte.
            connection.protocol.read_timeout = target.timeouts.chunk
            connection.protocol.start_timeout()
            closed = connection.protocol.closed
            if closed is not None:
                closed.add_done_callback(self._wake_reader)

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises AnswerTooLarge past `limit` bytes, and closes the connection then."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                self._response.close()
                raise AnswerTooLarge("the answer is longer than its reader allows")
            pieces.append(piece)
        return b"".join(pieces)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body piece by piece: all that has arrived since the last piece, joined, never empty."""
        while True:
            try:
                piece = await self._response.content.readany()
            except (aiohttp.ClientError, OSError, ValueError) as exc:
                self._response.close()
                raise _translated(self._target, exc) from None
            except BaseException:
                self._response.close()
                raise
            if piece:
                yield piece
            elif self._response.content.at_eof():
                return

    async def aclose(self) -> None:
        """End it: a body read to its end gives the connection back to the pool, any other closes it at once."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    def _wake_reader(self, closed: asyncio.Future[None]) -> None:
        # aiohttp closes the connection at an invalid chunk and leaves the waiting reader asleep, without a timer.
        if not closed.cancelled():
            closed.exception()
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError())


def _translated(target: Target, exc: Exception) -> TransportError:
    # Only the class is told: aiohttp's texts repeat what the engine sent.
    what = f"{target!r}: {type(exc).__name__}"
    match exc:
        case (
            aiohttp.ClientConnectorError()
            | aiohttp.ConnectionTimeoutError()
            | aiohttp.ClientHttpProxyError()
            | aiohttp.InvalidURL()
        ):
            return ConnectFailed(what)
        case TimeoutError():
            return ExchangeTimeout(what)
        case _:
            return ExchangeBroken(what)


async def _note_reuse(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _params: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    context.trace_request_ctx.reused = True

"""The ASGI application: finds the route, checks the key, runs the endpoint, renders what comes of it.

All routes go this one way; what differs is only the endpoint. A client that leaves is noticed by watching
`receive()` (servers do not raise on `send()`), and its request is cancelled, which closes the engine's connection.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from typing import Any, Protocol

from fondaco import CONTRACT_VERSION
from fondaco.errors import AdminRequired, AuthenticationFailed, FondacoError
from fondaco.http.call import Call, ClientGone, Receive, Scope, Send
from fondaco.http.errors import render, stream_error
from fondaco.http.openapi import Access
from fondaco.http.reply import ByteStream, Reply
from fondaco.http.routing import Routes
from fondaco.ids import request_id as new_request_id
from fondaco.keys.service import Caller
from fondaco.telemetry.access import AccessLog
from fondaco.telemetry.logs import BoundLogger

# Most answers are over before this many seconds: only then is it worth a task to watch for the client's leaving.
WATCH_AFTER = 0.03
GZIP_FROM = 1024
CLIENT_CLOSED = 499

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VERSION = (b"x-venice-version", CONTRACT_VERSION.encode())


class Authenticator(Protocol):
    def recall(self, token: bytes) -> Caller | None: ...
    async def authenticate(self, token: bytes) -> Caller: ...


class Edge:
    def __init__(
        self, routes: Routes, keys: Authenticator, log: BoundLogger, access: AccessLog | None, max_body: int
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._log = log
        self._access = access
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope, receive, new_request_id(), self._max_body)
        watch = _Watch(call)
        status, sent = CLIENT_CLOSED, 0
        try:
            reply = await self._answer(call)
            status = reply.status
            sent = await _send(call, reply, send, self._log)
        except ClientGone:
            status = CLIENT_CLOSED
        except asyncio.CancelledError:
            status = CLIENT_CLOSED
            if not call.gone:
                raise
            # We cancelled ourselves because the client left; the server's own task goes on as if answered.
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
        finally:
            watch.stop()
            if self._access is not None:
                seconds = time.perf_counter() - call.started
                self._access.note(
                    call.method if call.method in _METHODS else "-",
                    call.template,
                    status,
                    seconds,
                    sent,
                    call.model,
                    call.request_id,
                )

    async def _answer(self, call: Call) -> Reply:
        try:
            match = self._routes.find(call.method, call.path)
            call.template = match.template
            call.path_params = match.params
            await self._admit(call, match.route.operation.access)
            return await match.route.endpoint(call)
        except FondacoError as error:
            return render(error, call.request_id)
        except ClientGone:
            raise
        except Exception as error:
            # Only where it happened: an unforeseen exception's text may hold anything.
            self._log.error("request.crashed", request_id=call.request_id, exc_info=error)
            return render(FondacoError(), call.request_id)

    async def _admit(self, call: Call, access: Access) -> None:
        token = bearer(call)
        if token is None:
            if access != "open":
                raise AuthenticationFailed
            return
        caller = self._keys.recall(token)
        if caller is None:
            try:
                caller = await self._keys.authenticate(token)
            except AuthenticationFailed:
                if access == "open":
                    return
                raise
        if access == "admin" and caller.kind != "ADMIN":
            raise AdminRequired
        call.caller = caller


def bearer(call: Call) -> bytes | None:
    """The key of `Authorization: Bearer …`, whatever the case of the scheme; None without one."""
    value = call.header(b"authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    return token if token and (scheme == b"Bearer" or scheme.lower() == b"bearer") else None


class _Watch:
    """Cancels the request's task once the client has left."""

    __slots__ = ("_call", "_task", "_timer", "_watcher")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._begin)

    def _begin(self) -> None:
        if self._call.body_read:
            self._watcher = asyncio.ensure_future(self._watch())
        else:  # the endpoint itself still reads, and sees a disconnect
            self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER, self._begin)

    async def _watch(self) -> None:
        while True:
            message = await self._call.receive()
            if message["type"] == "http.disconnect":
                if self._task is not None and self._watcher is not None:
                    self._call.gone = True
                    self._task.cancel()
                return

    def stop(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            watcher.cancel()


async def _send(call: Call, reply: Reply, send: Send, log: BoundLogger) -> int:
    """Send the answer; returns the number of body bytes."""
    headers: list[tuple[bytes, bytes]] = [
        *reply.headers,
        (b"cf-ray", call.request_id.encode()),
        _VERSION,
    ]
    start: dict[str, Any] = {"type": "http.response.start", "status": reply.status, "headers": headers}
    if reply.stream is not None:
        return await _send_stream(start, reply.stream, send, log, call.request_id)
    body = reply.body
    if reply.compressible:
        headers.append((b"vary", b"accept-encoding"))
        if len(body) >= GZIP_FROM and b"gzip" in (call.header(b"accept-encoding") or b""):
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", b"%d" % len(body)))
    await send(start)
    await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else body})
    return len(body)


async def _send_stream(
    start: dict[str, Any], stream: ByteStream, send: Send, log: BoundLogger, request_id: str
) -> int:
    sent = 0
    try:
        await send(start)
        async for piece in stream:
            sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except Exception as error:
        # The head is out: what went wrong can only be said as the stream's last event.
        if isinstance(error, FondacoError):
            piece = stream_error(error)
        else:
            log.error("stream.crashed", request_id=request_id, exc_info=error)
            piece = stream_error(FondacoError())
        sent += len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        await stream.aclose()
    await send({"type": "http.response.body", "body": b""})
    return sent

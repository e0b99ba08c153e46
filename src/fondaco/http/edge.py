"""From a call to its answer: finds the route, checks the key, runs the endpoint, sends what comes of it.

All routes go this one way; what differs is only the endpoint. The server cancels the task of a client that leaves,
which closes the engine's connection.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Sequence
from typing import Protocol

from fondaco import CONTRACT_VERSION
from fondaco.errors import AccessDisabled, AdminRequired, AuthenticationFailed, FondacoError
from fondaco.http.call import Call, ClientGone
from fondaco.http.cors import Cors
from fondaco.http.errors import render, stream_error
from fondaco.http.limiting import Limiting
from fondaco.http.openapi import Access
from fondaco.http.reply import ByteStream, Header, Reply
from fondaco.http.routing import Routes
from fondaco.keys.caller import Caller
from fondaco.limits.ticket import Ticket
from fondaco.telemetry.access import AccessLog
from fondaco.telemetry.logs import BoundLogger

GZIP_FROM = 1024
GZIP_AT_ONCE = 256 * 1024
"""More would keep others waiting: a megabyte takes about 30 ms."""
CLIENT_CLOSED = 499

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VERSION: Header = (b"x-venice-version", CONTRACT_VERSION.encode())
_VARIES: Header = (b"vary", b"accept-encoding")


class Authenticator(Protocol):
    def recall(self, token: bytes) -> Caller | None: ...
    async def authenticate(self, token: bytes) -> Caller: ...


class Edge:
    def __init__(
        self,
        routes: Routes,
        keys: Authenticator,
        log: BoundLogger,
        access: AccessLog | None = None,
        cors: Cors | None = None,
        limiting: Limiting | None = None,
    ) -> None:
        self._routes = routes
        self._keys = keys
        self._log = log
        self._access = access
        self._cors = cors
        self._limiting = limiting

    async def handle(self, call: Call) -> None:
        """Answer a call. Raises only CancelledError, when its client has left or the server stops."""
        status, sent = CLIENT_CLOSED, 0
        try:
            reply = await self._answer(call)
            status = reply.status
            headers = [*reply.headers, (b"cf-ray", call.request_id.encode()), _VERSION]
            if self._cors is not None:
                headers += self._cors.headers(call)
            if self._limiting is not None and call.ticket is not None:
                headers += self._limiting.headers(call.ticket)
            if reply.stream is not None:
                sent = await self._send_stream(call, status, headers, reply.stream)
            else:
                body = await _compressed(call, reply, headers) if reply.compressible else reply.body
                sent = len(body)
                call.client.answer(status, headers, body)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            status = CLIENT_CLOSED
            raise
        finally:
            if self._access is not None:
                self._access.note(
                    call.method if call.method in _METHODS else "-",
                    call.template,
                    status,
                    time.perf_counter() - call.started,
                    sent,
                    call.model,
                    call.request_id,
                )

    async def _send_stream(
        self, call: Call, status: int, headers: Sequence[Header], stream: ByteStream
    ) -> int:
        client, sent = call.client, 0
        events = headers[0][1].startswith(b"text/event-stream")
        try:
            client.begin(status, headers)
            async for piece in stream:
                sent += len(piece)
                client.piece(piece)
                if (clogged := client.clogged()) is not None:
                    await clogged
        except Exception as error:
            # The head is out: what went wrong can only be said as the stream's last event.
            if isinstance(error, FondacoError):
                piece = stream_error(error)
            else:
                self._log.error("stream.crashed", request_id=call.request_id, exc_info=error)
                piece = stream_error(FondacoError())
            if not events:
                # Of a file, only the connection's end tells that it is not whole.
                return sent
            sent += len(piece)
            client.piece(piece)
        finally:
            await stream.aclose()
        client.end()
        return sent

    async def _answer(self, call: Call) -> Reply:
        try:
            if self._cors is not None and (reply := self._cors.preflight(call)) is not None:
                return reply
            match = self._routes.find(call.method, call.path)
            call.template = match.template
            call.path_params = match.params
            access = match.route.operation.access
            token = bearer(call)
            if token is None:
                if access != "open":
                    raise AuthenticationFailed
            else:
                caller = self._keys.recall(token) or await self._authenticated(token, access)
                if caller is not None:
                    call.ticket = Ticket(caller, call.request_id)
                    if (
                        self._limiting is not None
                        and (first := self._limiting.enter(call.ticket)) is not None
                    ):
                        await first
                    if access == "admin" and caller.kind != "ADMIN":
                        raise AdminRequired
            return await match.route.endpoint(call)
        except FondacoError as error:
            if self._limiting is not None and call.ticket is not None:
                self._limiting.failed(call.ticket.caller, error)
            return render(error, call.request_id)
        except ClientGone:
            raise
        except Exception as error:
            # Only where it happened: an unforeseen exception's text may hold anything.
            self._log.error("request.crashed", request_id=call.request_id, exc_info=error)
            return render(FondacoError(), call.request_id)

    async def _authenticated(self, token: bytes, access: Access) -> Caller | None:
        """Who has this key, which the cache does not know. An open route does not mind a wrong one."""
        try:
            return await self._keys.authenticate(token)
        except (AuthenticationFailed, AccessDisabled):
            if access == "open":
                return None
            raise


def bearer(call: Call) -> bytes | None:
    """The key of `Authorization: Bearer …`, whatever the case of the scheme; None without one."""
    value = call.headers.get(b"authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    return token if token and (scheme == b"Bearer" or scheme.lower() == b"bearer") else None


async def _compressed(call: Call, reply: Reply, headers: list[Header]) -> bytes:
    headers.append(_VARIES)
    accepted = call.headers.get(b"accept-encoding")
    if accepted is None or len(reply.body) < GZIP_FROM or not _takes_gzip(accepted):
        return reply.body
    headers.append((b"content-encoding", b"gzip"))
    if len(reply.body) > GZIP_AT_ONCE:
        return await asyncio.to_thread(gzip.compress, reply.body, 1, mtime=0)
    return gzip.compress(reply.body, 1, mtime=0)


def _takes_gzip(accepted: bytes) -> bool:
    if b"gzip" not in accepted:
        return False
    for coding in accepted.split(b","):
        name, _, quality = coding.replace(b" ", b"").partition(b";q=")
        if name == b"gzip":
            return quality.strip(b"0.") != b"" or not quality
    return False

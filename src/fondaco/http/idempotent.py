"""`Idempotency-Key` around an endpoint: its first request runs, a repeat gets the first one's answer.

What a charged request came to is written by its settlement, through the ticket; what was free is written here,
before the answer's last byte. A request without the header is none of this and costs one look-up.
"""

from __future__ import annotations

from collections.abc import Awaitable

import msgspec

from fondaco.errors import InvalidRequest, Issue
from fondaco.http.call import Call
from fondaco.http.reply import ByteStream, Header, Reply
from fondaco.http.routing import API_BASES, Endpoint
from fondaco.idempotency.service import Answer, Idempotency, Run, Use
from fondaco.media.multipart import BadForm, boundary_of

LONGEST_KEY = 255

_KEY = b"idempotency-key"
_REPLAYED: Header = (b"idempotent-replayed", b"true")
_OF_THE_MOMENT = (b"x-ratelimit-", b"x-venice-balance-")
"""Headers that say how things stand when they are sent; a repeat has its own."""
_EVENTS = b"text/event-stream"
_LAST_EVENT = b"data: [DONE]\n\n"
_SLICE = 64 * 1024

_encoder = msgspec.json.Encoder()


def idempotent(endpoint: Endpoint, idempotency: Idempotency) -> Endpoint:
    """`endpoint`, for a route that needs a key, run at most once for each `Idempotency-Key` of a caller."""

    def once(call: Call) -> Awaitable[Reply]:
        text = call.headers.get(_KEY)
        return endpoint(call) if text is None else _run_once(call, text, endpoint, idempotency)

    return once


async def _run_once(call: Call, text: bytes, endpoint: Endpoint, idempotency: Idempotency) -> Reply:
    run = await idempotency.begin(await _use(call, text, idempotency), call.request_id)
    if isinstance(run, Answer):
        return _again(run)
    if call.ticket is not None:
        call.ticket.joins += (run.join,)
    try:
        reply = await endpoint(call)
    except Exception:
        await run.failed()
        raise
    except BaseException:
        run.left()
        raise
    if reply.status >= 400:
        await run.failed()
    elif reply.stream is not None:
        reply.stream = _Recorded(reply.stream, run, reply.status, reply.headers)
    else:
        run.record(reply.body)
        await run.done(reply.status, _lasting(reply.headers), compressible=reply.compressible)
    return reply


async def _use(call: Call, text: bytes, idempotency: Idempotency) -> Use:
    text = text.strip()
    if not (0 < len(text) <= LONGEST_KEY and text.isascii() and text.decode("ascii").isprintable()):
        message = f"Idempotency-Key must be 1 to {LONGEST_KEY} printable ASCII characters"
        raise InvalidRequest([Issue(code="custom", path=("Idempotency-Key",), message=message)], message)
    route = call.template
    for base in API_BASES:  # one route, whichever base it was asked under
        if route.startswith(base + "/"):
            route = route.removeprefix(base)
            break
    target = _encoder.encode((call.query_string.decode("latin-1"), sorted(call.path_params.items())))
    body = _without_boundary(call, (await call.peek_body()).reveal())
    return await idempotency.use(call.identified.key_id, route, text, target, body)


def _without_boundary(call: Call, body: bytes | bytearray) -> bytes | bytearray:
    """A form's boundary is made anew each time that the form is sent, so it is no part of what is asked."""
    try:
        boundary = boundary_of(call.headers.get(b"content-type", b""))
    except BadForm:
        return body
    return body.replace(b"--" + boundary, b"--") if boundary else body


def _lasting(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    return tuple(header for header in headers if not header[0].lower().startswith(_OF_THE_MOMENT))


def _again(answer: Answer) -> Reply:
    body = answer.body.reveal()
    reply = Reply(
        b"" if answer.streamed else body,
        status=answer.status,
        stream=_Slices(body) if answer.streamed else None,
        compressible=answer.compressible,
    )
    reply.headers = (*answer.headers, _REPLAYED)
    return reply


class _Recorded:
    """A stream that is recorded as it passes, and whose end is its run's."""

    __slots__ = ("_events", "_headers", "_run", "_status", "_stream")

    def __init__(self, stream: ByteStream, run: Run, status: int, headers: tuple[Header, ...]) -> None:
        self._stream = stream
        self._run = run
        self._status = status
        self._headers = _lasting(headers)
        self._events = dict(headers).get(b"content-type", b"").startswith(_EVENTS)

    def __aiter__(self) -> _Recorded:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._stream.__anext__()
        except StopAsyncIteration:
            await self._done()
            raise
        except Exception:
            await self._run.failed()
            raise
        self._run.record(piece)
        if self._events and piece.endswith(_LAST_EVENT):
            # Nothing follows: a client that leaves once it has this has had it all.
            await self._done()
        return piece

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._run.left()

    async def _done(self) -> None:
        await self._run.done(self._status, self._headers, streamed=True)


class _Slices:
    """A recorded stream, given out again."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def __aiter__(self) -> _Slices:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= len(self._body):
            raise StopAsyncIteration
        piece = self._body[self._at : self._at + _SLICE]
        self._at += _SLICE
        return piece

    async def aclose(self) -> None:
        self._body = b""

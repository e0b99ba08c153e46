"""One chat exchange with an engine: the request out, events back, every failure as one of our errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from fondaco.content import Sealed
from fondaco.errors import (
    ContextExceeded,
    FondacoError,
    InferenceFailed,
    ModelOffline,
    ModelOverloaded,
    RequestTimeout,
    UpstreamFailed,
    UpstreamRefused,
)
from fondaco.upstream.chat_stream import Event, EventReader, whole
from fondaco.upstream.leniency import says_too_long
from fondaco.upstream.transport import (
    AnswerTooLarge,
    ConnectFailed,
    Exchange,
    ExchangeBroken,
    ExchangeTimeout,
    Target,
    Transport,
    TransportError,
)
from fondaco.upstream.wire import EngineRequest

PATH = "/chat/completions"
MAX_ANSWER = 64 * 1024 * 1024
MAX_REFUSAL = 256 * 1024

encoded: Callable[[EngineRequest], bytes] = msgspec.json.Encoder().encode
"""The body of a request to an engine."""


class _Told(Sealed):
    message: str | None = None
    type: str | int | None = None
    code: str | int | None = None


class _ErrorBody(Sealed):
    error: _Told | str | None = None
    message: str | None = None
    detail: str | None = None


class EngineReply:
    """An answer that an engine has begun: take its events with `more`, and always `aclose` it."""

    __slots__ = ("_exchange", "_over", "_pieces", "_reader", "whole")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._over = False
        self._reader: EventReader | None = None
        self.whole = False
        """The answer is one event."""
        if exchange.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
            self._reader = EventReader()
            self._pieces = exchange.chunks()
        else:
            self.whole = True

    async def more(self) -> list[Event]:
        """The events that came next, in order; none when the answer is over.

        Raises UpstreamFailed, RequestTimeout or what the engine's error event says.
        """
        if self._over:
            return []
        try:
            reader = self._reader
            if reader is None:
                self._over = True
                return [whole(await self._exchange.read(MAX_ANSWER))]
            while not reader.done:
                piece = await anext(self._pieces, None)
                found = reader.end() if piece is None else reader.feed(piece)
                if found:
                    return found
        except TransportError as error:
            raise _failed(error) from None
        self._over = True
        return []

    def aclose(self) -> Awaitable[None]:
        """Leave the engine: at once if it still talks. `more` has nothing more to say then."""
        self._over = True
        return self._exchange.aclose()


async def ask(transport: Transport, target: Target, body: bytes) -> EngineReply:
    """Send a request and wait until the engine takes it. Raises the error that its refusal or silence means."""
    try:
        exchange = await transport.send(target, "POST", PATH, body)
        if exchange.status == 200:
            return EngineReply(exchange)
        try:
            raise await refusal(exchange)
        finally:
            await exchange.aclose()
    except TransportError as error:
        raise _failed(error) from None


def _failed(error: TransportError) -> FondacoError:
    if isinstance(error, ConnectFailed):
        return ModelOffline(retry_after=5)
    if isinstance(error, ExchangeTimeout):
        return RequestTimeout()
    if isinstance(error, (ExchangeBroken, AnswerTooLarge)):
        return UpstreamFailed()
    return InferenceFailed()


async def refusal(exchange: Exchange) -> FondacoError:
    """An answer that is not 200, as one of our errors; the engine's own sentence goes to the caller only."""
    status = exchange.status
    message, hint = _told(await exchange.read(MAX_REFUSAL))
    if status in (400, 404, 413, 422) and says_too_long(hint):
        return ContextExceeded()
    if status in (400, 413, 415, 422):
        return UpstreamRefused(message)
    if status == 429:
        return ModelOverloaded(retry_after=_retry_after(exchange))
    if status in (502, 503):
        return ModelOffline(retry_after=_retry_after(exchange))
    if status in (408, 504):
        return RequestTimeout()
    if status >= 500:
        return InferenceFailed()
    # 401, 403, 404 and redirects: it is our own binding that is wrong, not the caller's request.
    return UpstreamFailed("The model's engine does not accept this server's requests.")


def _told(body: bytes) -> tuple[str | None, str]:
    """The engine's sentence, and all that its error says of its kind."""
    try:
        told = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, ""
    if isinstance(told.error, str):
        return told.error, told.error
    if told.error is not None:
        error = told.error
        return error.message, f"{error.type} {error.code} {error.message}"
    return told.message or told.detail, told.message or told.detail or ""


def _retry_after(exchange: Exchange) -> int:
    value = exchange.headers.get(b"retry-after", b"")
    return int(value) if value.isdigit() and len(value) < 6 else 30

"""What went wrong at an engine, as one of our errors."""

from __future__ import annotations

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
from fondaco.upstream.leniency import says_too_long
from fondaco.upstream.transport import (
    AnswerTooLarge,
    ConnectFailed,
    Exchange,
    ExchangeBroken,
    ExchangeTimeout,
    TransportError,
)

MAX_REFUSAL = 256 * 1024


class _Told(Sealed):
    """An engine's error, in OpenAI's form or near it."""

    message: str | None = None
    type: str | int | None = None
    code: str | int | None = None
    param: str | None = None
    """The field at fault."""


class _ErrorBody(Sealed):
    error: _Told | str | None = None
    message: str | None = None
    detail: str | None = None


def failed(error: TransportError) -> FondacoError:
    """An exchange that broke, as one of our errors."""
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
    told = _told(await exchange.read(MAX_REFUSAL))
    if status in (400, 404, 413, 422, 500) and says_too_long(f"{told.type} {told.code} {told.message}"):
        return ContextExceeded()
    if status in (400, 413, 415, 422):
        reason = None if told.code is None else str(told.code)
        return UpstreamRefused(told.message, param=told.param, reason=reason)
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


def _told(body: bytes) -> _Told:
    """The engine's sentence, and what its error says of its kind."""
    try:
        body_told = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Told()
    if isinstance(body_told.error, str):
        return _Told(message=body_told.error)
    return body_told.error or _Told(message=body_told.message or body_told.detail)


def _retry_after(exchange: Exchange) -> int:
    value = exchange.headers.get(b"retry-after", b"")
    return int(value) if value.isdigit() and len(value) < 6 else 30

"""Embeddings: the work, without HTTP."""

from __future__ import annotations

import asyncio
from typing import cast

from msgspec import UNSET, Raw

from fondaco.billing.line import total
from fondaco.billing.meter import Meter
from fondaco.billing.prices.tokens import embedding_bill, embedding_tokens
from fondaco.billing.use import Use
from fondaco.clock import Clock
from fondaco.content import Sealed
from fondaco.embeddings.wire import MAX_INPUTS, MAX_TOKENS, EmbeddingRequest, EmbeddingUsage
from fondaco.errors import ContextExceeded, FondacoError, InvalidRequest, Issue, UpstreamRefused
from fondaco.limits.ticket import Ticket
from fondaco.models import policy
from fondaco.models.model import Model
from fondaco.models.registry import Registry, Resolved
from fondaco.models.seating import Seating
from fondaco.models.serving import LocalServing
from fondaco.upstream.embeddings import EngineEmbeddings, embed
from fondaco.upstream.seats import Seat
from fondaco.upstream.transport import Transport

NO_TOKENS = "Token array inputs are not supported. Pass a string or an array of strings."


class Embedded(Sealed):
    """Vectors that are paid for."""

    resolved: Resolved
    data: Raw
    """An answer's own, as its caller wants it."""
    usage: EmbeddingUsage


class EmbeddingService:
    """Has texts turned into vectors by whichever engine serves the model; they are paid by the token."""

    def __init__(
        self, models: Registry, seating: Seating, transport: Transport, meter: Meter, clock: Clock
    ) -> None:
        self._models = models
        self._seating = seating
        self._transport = transport
        self._meter = meter
        self._clock = clock

    async def embed(self, ticket: Ticket, request: EmbeddingRequest) -> Embedded:
        """All vectors, paid for.

        Raises InvalidRequest, ModelNotFound, ModelNotAllowed, RateLimitExceeded, PaymentRequired, ModelOffline and
        whatever else kept the engine from making them.
        """
        count = _count(request)
        resolved = self._models.resolve(request.model, "embedding")
        model = resolved.model
        policy.check(ticket.caller.model_privacy, model)
        _check_tokens(request, resolved)
        _check_dimensions(request, model)
        likely, most = embedding_tokens(request.input)
        metered = await self._meter.admit(ticket, model, likely)
        began = self._clock.monotonic()
        asked_elsewhere = False
        try:
            if metered.walled:
                await metered.hold(total(embedding_bill(model, most)))
            async with self._seating.seat(resolved, ticket.caller.account_id) as seat:
                asked_elsewhere = not seat.local
                made = await embed(self._transport, seat.target, _asked(request, model, seat), count)
        except BaseException as error:
            if asked_elsewhere and isinstance(error, asyncio.CancelledError):
                # A client that leaves while another server works has had nothing, but that was asked.
                metered.settle_soon(embedding_bill(model, likely), self._use(likely, began), likely)
            else:
                metered.void()
            if isinstance(error, FondacoError):
                raise _said(error, request, model) from None
            raise
        tokens = likely if made.prompt_tokens is None else made.prompt_tokens
        await metered.settle(embedding_bill(model, tokens), self._use(tokens, began), tokens)
        return Embedded(resolved, made.data, EmbeddingUsage(tokens, tokens))

    def _use(self, tokens: int, began: float) -> Use:
        return Use(prompt_tokens=tokens, execution_ms=round((self._clock.monotonic() - began) * 1000))


def _count(request: EmbeddingRequest) -> int:
    """How many inputs there are, all of one kind. Raises InvalidRequest."""
    given = request.input
    if isinstance(given, str):
        return 1
    kind = type(given[0])
    for index, item in enumerate(given):
        if type(item) is not kind:
            raise InvalidRequest.at("input", index, message="Strings and tokens cannot be mixed")
    if kind is int:
        return 1
    if len(given) > MAX_INPUTS:
        message = f"Array must contain at most {MAX_INPUTS} element(s)"
        raise InvalidRequest.at("input", message=message, code="too_big")
    return len(given)


def _check_tokens(request: EmbeddingRequest, resolved: Resolved) -> None:
    """Raises InvalidRequest for token ids that are hardly the model's: who asks by another's name sends another's."""
    if isinstance(request.input, str) or isinstance(request.input[0], str):
        return
    if not isinstance(resolved.served.serving, LocalServing) or resolved.asked != resolved.model.id:
        raise InvalidRequest([Issue("custom", ("input",), NO_TOKENS)], NO_TOKENS)


def _check_dimensions(request: EmbeddingRequest, model: Model) -> None:
    """Raises InvalidRequest for dimensions of which it is known that the model cannot give them."""
    asked, known = request.dimensions, model.constraints.get("embeddingDimensions")
    if asked is None or not isinstance(known, int) or asked == known:
        return
    if not model.constraints.get("supportsCustomDimensions"):
        message = f"dimensions is not supported by this model: its vectors have {known}"
        raise InvalidRequest.at("dimensions", message=message)
    if asked > known:
        message = f"Number must be less than or equal to {known}"
        raise InvalidRequest.at("dimensions", message=message, code="too_big")


def _asked(request: EmbeddingRequest, model: Model, seat: Seat) -> EngineEmbeddings:
    native = model.constraints.get("embeddingDimensions")
    plain = request.dimensions is None or request.dimensions == native
    return EngineEmbeddings(
        input=request.input,
        model=seat.upstream_model or UNSET,
        encoding_format="base64" if request.encoding_format == "base64" else UNSET,
        dimensions=UNSET if plain else cast("int", request.dimensions),
    )


def _said(error: FondacoError, request: EmbeddingRequest, model: Model) -> FondacoError:
    """An engine's refusal of a field that the caller sent, as a refusal of ours."""
    if isinstance(error, ContextExceeded):
        most = model.constraints.get("maxInputTokens", MAX_TOKENS)
        message = f"Input text exceeds the maximum token limit of {most} tokens"
        return InvalidRequest([Issue("too_big", ("input",), message)], message)
    if not isinstance(error, UpstreamRefused) or error.param is None:
        return error
    field, _, index = error.param.partition(".")
    if field not in EmbeddingRequest.__struct_fields__:
        return error
    path = (field, int(index)) if index.isdigit() and len(index) < 6 else (field,)
    message = error.message if error.reason == "input_too_long" else None
    return InvalidRequest([Issue("custom", path, error.message)], message)

"""Text read aloud: the work, without HTTP."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from msgspec import UNSET

from fondaco.billing.line import total
from fondaco.billing.meter import Meter, Metered
from fondaco.billing.prices.audio import speech_bill
from fondaco.billing.use import Use
from fondaco.clock import Clock
from fondaco.errors import FondacoError, InvalidRequest, Issue, UpstreamFailed, UpstreamRefused
from fondaco.limits.ticket import Ticket
from fondaco.models import policy
from fondaco.models.model import Model
from fondaco.models.registry import Registry, Resolved
from fondaco.models.seating import Seating
from fondaco.speech.wire import AudioFormat, SpeechRequest
from fondaco.upstream.seats import Seat
from fondaco.upstream.speech import EngineSpeech, EngineVoice, SpeechReply, speak
from fondaco.upstream.transport import Transport

DEFAULT_MODEL = "tts-kokoro"
DEFAULT_VOICE = "af_sky"
OPENAI_VOICE = "alloy"
"""What a bound server is asked for whose voices nobody listed."""


class Recital:
    """A text being read: take its audio with `more`, and always `aclose` it, which leaves the engine.

    It is settled before its last byte is given. One that breaks costs nothing; one that is left costs what was spoken
    until then.
    """

    def __init__(
        self,
        model: Model,
        form: AudioFormat,
        characters: int,
        place: AsyncExitStack,
        reply: SpeechReply,
        spending: _Spending,
        *,
        local: bool,
    ) -> None:
        self.model = model
        self.form: AudioFormat = form
        self.characters = characters
        """Of the whole text."""
        self.local = local
        self._place = place
        self._reply = reply
        self._spending = spending
        self._kept = b""

    async def more(self) -> bytes:
        """The audio that came next, never empty until all has been given."""
        try:
            while (sound := await self._reply.more()) is not None:
                # Who leaves a server that does not tell how far it is has asked it for everything.
                self._spending.spoken = self.characters if sound.characters is None else sound.characters
                if sound.audio:
                    # The very last byte waits until the books are written.
                    given, self._kept = self._kept + sound.audio[:-1], sound.audio[-1:]
                    if given:
                        return given
            last, self._kept = self._kept, b""
            if last:
                await self._spending.settle()
            elif not self._spending.over:
                raise UpstreamFailed
        except FondacoError as error:
            self._spending.void()
            # With the error: an engine that broke is looked at before it is used again.
            await self._place.__aexit__(type(error), error, error.__traceback__)
            raise
        return last

    async def aclose(self) -> None:
        try:
            await self._reply.aclose()
        finally:
            try:
                await self._place.aclose()
            finally:
                self._spending.leave()


class SpeechService:
    """Reads on whichever engine serves the model. All that can be refused is refused by `begin`."""

    def __init__(
        self, models: Registry, seating: Seating, transport: Transport, meter: Meter, clock: Clock
    ) -> None:
        self._models = models
        self._seating = seating
        self._transport = transport
        self._meter = meter
        self._clock = clock

    async def begin(self, ticket: Ticket, request: SpeechRequest) -> Recital:
        """Admit the request, hold its price, ask an engine and wait until it begins to speak.

        Raises InvalidRequest, ModelNotFound, ModelNotAllowed, RateLimitExceeded, PaymentRequired, and what kept the
        engine from answering.
        """
        resolved = self._models.resolve(request.model or DEFAULT_MODEL, "tts")
        model = resolved.model
        policy.check(ticket.caller.model_privacy, model)
        metered = await self._meter.admit(ticket, model)
        spending = _Spending(metered, model, self._clock, len(request.input))
        place = AsyncExitStack()
        try:
            if metered.walled:
                await metered.hold(total(speech_bill(model, len(request.input))))
            seat = await place.enter_async_context(self._seating.seat(resolved, ticket.caller.account_id))
            if not seat.local:
                # Another server charges for what it was asked, heard or not.
                spending.spoken = len(request.input)
            reply = await speak(self._transport, seat.target, _asked(request, resolved, seat))
        except BaseException as error:
            try:
                await place.__aexit__(type(error), error, error.__traceback__)
            finally:
                if isinstance(error, asyncio.CancelledError):
                    spending.leave()
                else:
                    spending.void()
            if isinstance(error, UpstreamRefused):
                raise _named(error) from None
            raise
        form = request.response_format or "mp3"
        return Recital(model, form, len(request.input), place, reply, spending, local=seat.local)


class _Spending:
    """What one recital costs. It ends once."""

    def __init__(self, metered: Metered, model: Model, clock: Clock, characters: int) -> None:
        self.spoken = 0
        """Characters that are owed if the client leaves now."""
        self.over = False
        self._metered = metered
        self._model = model
        self._clock = clock
        self._characters = characters
        self._started = clock.monotonic()

    async def settle(self) -> None:
        self.over = True
        await self._metered.settle(speech_bill(self._model, self._characters), self._use())

    def leave(self) -> None:
        if not self.over:
            self.over = True
            self._metered.settle_soon(speech_bill(self._model, self.spoken), self._use())

    def void(self) -> None:
        if not self.over:
            self.over = True
            self._metered.void()

    def _use(self) -> Use:
        return Use(execution_ms=int(1000 * (self._clock.monotonic() - self._started)))


def _asked(request: SpeechRequest, resolved: Resolved, seat: Seat) -> EngineSpeech:
    voice = (
        EngineVoice(request.voice.id)
        if request.voice and not isinstance(request.voice, str)
        else request.voice
    )
    made = EngineSpeech(
        input=request.input,
        voice=voice or _default_voice(resolved.model, local=seat.local),
        response_format=request.response_format or "mp3",
        model=seat.upstream_model or UNSET,
        speed=UNSET if request.speed is None else request.speed,
        language=request.language or UNSET,
    )
    if seat.local:
        made.stream_format = "sse"
        made.streaming = request.streaming is True or request.stream_format == "sse"
    else:
        made.instructions = request.instructions or request.prompt or UNSET
        made.temperature = UNSET if request.temperature is None else request.temperature
        made.top_p = UNSET if request.top_p is None else request.top_p
    return made


def _default_voice(model: Model, *, local: bool) -> str:
    if local or DEFAULT_VOICE in model.voices:
        return DEFAULT_VOICE
    return model.voices[0] if model.voices else OPENAI_VOICE


def _named(error: UpstreamRefused) -> FondacoError:
    """An engine's refusal of a field that the caller sent, as a refusal of ours."""
    if error.param not in SpeechRequest.__struct_fields__:
        return error
    message = error.message if error.reason == "nothing_speakable" else None
    return InvalidRequest([Issue("custom", (error.param,), error.message)], message)

"""Transcriptions: the work, without HTTP."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from fondaco.billing.line import Bill, total
from fondaco.billing.meter import Meter
from fondaco.billing.prices.audio import SECOND, likely, longest, transcription_bill
from fondaco.billing.use import Use
from fondaco.clock import Clock
from fondaco.content import Sealed
from fondaco.errors import (
    AudioNotProcessed,
    FondacoError,
    InvalidAudioFormat,
    InvalidRequest,
    TranscriptionFailed,
    UpstreamFailed,
    UpstreamRefused,
)
from fondaco.limits.ticket import Ticket
from fondaco.media.audio_kind import NAMES, AudioKind, audio_kind
from fondaco.media.multipart import File
from fondaco.models import policy
from fondaco.models.registry import Registry, Resolved
from fondaco.models.seating import Seating
from fondaco.transcription.wire import TranscriptionRequest
from fondaco.upstream.transcription import Begun, Done, Heard, Order, Segment, Transcribers, Word

_TYPES: dict[AudioKind, str] = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
_FIELDS = frozenset(TranscriptionRequest.__struct_fields__)


class Transcript(Sealed, kw_only=True):
    """What was said, and by which model it was heard."""

    resolved: Resolved
    text: str
    language: str
    """Its English name; empty where nobody knows."""
    seconds: float | None
    """How long the file lasts; None where the server that heard it did not tell."""
    segments: list[Segment]
    words: list[Word] | None


class TranscriptionService:
    """Has files transcribed by whichever engine serves the model; what was heard is paid by the second."""

    def __init__(
        self, models: Registry, seating: Seating, transcribers: Transcribers, meter: Meter, clock: Clock
    ) -> None:
        self._models = models
        self._seating = seating
        self._transcribers = transcribers
        self._meter = meter
        self._clock = clock

    async def transcribe(
        self, ticket: Ticket, request: TranscriptionRequest, data: memoryview, *, words: bool
    ) -> Transcript:
        """The whole transcript, paid for.

        Raises InvalidAudioFormat, AudioNotProcessed, InvalidRequest, ModelNotFound, ModelNotAllowed,
        RateLimitExceeded, PaymentRequired, ModelOffline and whatever else kept the engine from hearing it.
        """
        order = Order(
            file=_recognised(data),
            language=request.language,
            prompt=request.prompt,
            temperature=request.temperature,
            words=words,
        )
        resolved = self._models.resolve(request.model, "asr")
        model, size = resolved.model, len(data)
        policy.check(ticket.caller.model_privacy, model)
        metered = await self._meter.admit(ticket, model)
        hearing = _Hearing(size, self._clock)
        try:
            if metered.walled:
                await metered.hold(total(transcription_bill(model, longest(size), size)))
            async with (
                self._seating.seat(resolved, ticket.caller.account_id) as seat,
                aclosing(self._transcribers.ask(seat, order)) as events,
            ):
                hearing.told = seat.local
                async for event in events:
                    hearing.note(event)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and (bill := hearing.bill(resolved)):
                metered.settle_soon(bill, hearing.use)
            else:
                metered.void()
            if isinstance(error, FondacoError):
                raise _said(error) from None
            raise
        await metered.settle(hearing.bill(resolved), hearing.use)
        return hearing.transcript(resolved)


class _Hearing:
    """What an engine has told so far."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._size = size
        self._clock = clock
        self._began = clock.monotonic()
        self._segments: list[Segment] = []
        self._done: Done | None = None
        self.told = True
        """Its engine tells how far it is. Who leaves a server that does not has asked it for everything."""

    def note(self, event: Begun | Heard | Done) -> None:
        if isinstance(event, Heard):
            self._segments.append(event.segment)
        elif isinstance(event, Done):
            self._done = event

    @property
    def use(self) -> Use:
        return Use(execution_ms=round((self._clock.monotonic() - self._began) * 1000))

    def bill(self, resolved: Resolved) -> Bill:
        """For the whole file once all is said, else for what has been heard."""
        if self._done is None and (self.told or self._segments):
            milliseconds = _milliseconds(self._segments[-1].end) if self._segments else 0
        elif self._done is None or self._done.seconds is None:
            milliseconds = likely(self._size)
        else:
            milliseconds = _milliseconds(self._done.seconds)
        return transcription_bill(resolved.model, milliseconds, self._size)

    def transcript(self, resolved: Resolved) -> Transcript:
        done = self._done
        assert done is not None, "an engine's events end with it"
        words = done.words
        if words is None and any(isinstance(segment.words, list) for segment in self._segments):
            words = [word for segment in self._segments for word in segment.words or ()]
        return Transcript(
            resolved=resolved,
            text=done.text,
            language=done.language,
            seconds=done.seconds,
            segments=self._segments,
            words=words,
        )


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * SECOND))


def _recognised(data: memoryview) -> File:
    """The file under a name that says what it is: some servers look at nothing else, and the caller's own is its own."""
    if not data:
        raise AudioNotProcessed("The audio could not be processed for transcription: the file is empty.")
    kind = audio_kind(data)
    if kind is None:
        raise InvalidAudioFormat(f"Invalid audio format. Supported formats are {NAMES}.")
    return File(data, f"audio.{kind}", _TYPES[kind])


def _said(error: FondacoError) -> FondacoError:
    """An engine's own words on what is wrong with the request, as the contract has them."""
    if isinstance(error, UpstreamFailed):
        return TranscriptionFailed(error.message)
    if not isinstance(error, UpstreamRefused):
        return error
    if error.reason == InvalidAudioFormat.code:
        return InvalidAudioFormat(error.message)
    if error.reason == AudioNotProcessed.code or error.param == "file":
        return AudioNotProcessed(error.message)
    if error.param in _FIELDS:
        return InvalidRequest.at(error.param, message=error.message)
    return error

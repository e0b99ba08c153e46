"""Transcription by an engine: a form out, what was said back, told as it comes or all at once."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeAlias

import msgspec

from fondaco.content import Sealed
from fondaco.errors import FondacoError, UpstreamFailed, UpstreamRefused
from fondaco.media.multipart import File, write_form
from fondaco.upstream.faults import failed, refusal
from fondaco.upstream.seats import Seat
from fondaco.upstream.sse import Blocks, payloads
from fondaco.upstream.transport import Exchange, ExchangeBroken, Target, Transport, TransportError

PATH = "/audio/transcriptions"
MAX_ANSWER = 64 * 1024 * 1024


class Word(Sealed):
    """Times in seconds from the file's beginning."""

    word: str
    start: float
    end: float


class Segment(Sealed, kw_only=True):
    """OpenAI's. Some servers leave out all but text and times."""

    id: int = 0
    seek: float = 0
    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: list[Word] | msgspec.UnsetType = msgspec.UNSET
    """Where each segment tells its own."""


class Order(Sealed, kw_only=True):
    """What an engine is asked for."""

    file: File
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    words: bool = False
    """Times of words are wanted."""


class Begun(msgspec.Struct, frozen=True, tag="transcript.begun"):
    """The engine has read the whole file, which lasts so many seconds."""

    duration: float


class Heard(Sealed, tag="transcript.segment"):
    segment: Segment


class Done(Sealed, tag="transcript.done", kw_only=True):
    """All is said. `seconds` is how long the file lasts; None where the server does not tell."""

    text: str
    language: str = ""
    seconds: float | None = msgspec.field(default=None, name="duration")
    words: list[Word] | None = None
    """Where they are told all at once."""


Event: TypeAlias = Begun | Heard | Done


class _Usage(msgspec.Struct):
    seconds: float | None = None


class _Whole(Sealed):
    """OpenAI's `json` and `verbose_json`. Its `duration` was a text once."""

    text: str
    language: str | None = None
    duration: float | str | None = None
    segments: list[dict[str, Any]] | None = None
    """As `Segment`, where some servers say null for what they do not know."""
    words: list[Word] | None = None
    usage: _Usage | None = None


_events = msgspec.json.Decoder(Begun | Heard | Done)
_whole = msgspec.json.Decoder(_Whole)


class Transcribers:
    """Asks engines. Local ones tell each segment as it is heard; of others only OpenAI's own forms are expected."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._terse: set[tuple[Target, str | None]] = set()
        """Models that have no `verbose_json`."""

    async def ask(self, seat: Seat, order: Order) -> AsyncGenerator[Event]:
        """What the engine tells, in order; `Done` comes last and once.

        Raises the error that its refusal or silence means. Close it to leave the engine.
        """
        try:
            exchange = await self._asked(seat, order)
            try:
                if exchange.headers.get(b"content-type", b"").lower().startswith(b"text/event-stream"):
                    async for event in _told(exchange.chunks()):
                        yield event
                else:
                    for event in _all_at_once(exchange, await exchange.read(MAX_ANSWER)):
                        yield event
            finally:
                await exchange.aclose()
        except TransportError as error:
            raise failed(error) from None

    async def _asked(self, seat: Seat, order: Order) -> Exchange:
        """Raises what the engine's refusal means."""
        model = (seat.target, seat.upstream_model)
        if model not in self._terse:
            answer = await self._sent(seat, order, verbose=True)
            if not isinstance(answer, UpstreamRefused):
                return _good(answer)
            if seat.local or not _minds_the_form(answer):
                raise answer
        answer = await self._sent(seat, order, verbose=False)
        self._terse.add(model)
        return _good(answer)

    async def _sent(self, seat: Seat, order: Order, *, verbose: bool) -> Exchange | FondacoError:
        content_type, body = write_form(_fields(seat, order, verbose=verbose), [("file", order.file)])
        exchange = await self._transport.send(seat.target, "POST", PATH, body, content_type)
        if exchange.status == 200:
            return exchange
        try:
            return await refusal(exchange)
        finally:
            await exchange.aclose()


def _good(answer: Exchange | FondacoError) -> Exchange:
    if isinstance(answer, FondacoError):
        raise answer
    return answer


def _minds_the_form(refused: UpstreamRefused) -> bool:
    """Newer models of OpenAI's, and some servers, know `json` only."""
    return refused.param == "response_format" or any(
        name in refused.message for name in ("response_format", "verbose_json", "timestamp_granularities")
    )


def _fields(seat: Seat, order: Order, *, verbose: bool) -> list[tuple[str, str]]:
    fields = [("response_format", "verbose_json" if verbose else "json")]
    if seat.upstream_model is not None:
        fields.append(("model", seat.upstream_model))
    if order.language:
        fields.append(("language", order.language))
    if order.prompt:
        fields.append(("prompt", order.prompt))
    if order.temperature is not None:
        fields.append(("temperature", f"{order.temperature:g}"))
    if verbose:
        granularities = ("word", "segment") if order.words else ("segment",)
        fields += [("timestamp_granularities[]", each) for each in granularities]
    if seat.local:
        fields.append(("stream", "true"))
    return fields


async def _told(pieces: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    blocks = Blocks()
    async for piece in pieces:
        for payload in payloads(blocks.feed(piece)):
            try:
                event = _events.decode(payload)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise UpstreamFailed from None
            yield event
            if isinstance(event, Done):
                return
    raise ExchangeBroken


def _all_at_once(exchange: Exchange, body: bytes) -> list[Event]:
    try:
        if exchange.headers.get(b"content-type", b"").lower().startswith(b"text/plain"):
            return [Done(text=body.decode().strip())]
        told = _whole.decode(body)
        segments = [_segment(each) for each in told.segments or ()]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamFailed from None
    seconds = _seconds(told.duration)
    if seconds is None and told.usage is not None:
        seconds = told.usage.seconds
    if seconds is None and segments:
        seconds = segments[-1].end
    done = Done(text=told.text, language=told.language or "", seconds=seconds, words=told.words)
    return [*map(Heard, segments), done]


def _segment(told: dict[str, Any]) -> Segment:
    return msgspec.convert({name: value for name, value in told.items() if value is not None}, Segment)


def _seconds(told: float | str | None) -> float | None:
    """None too for a text that is no time, such as `nan`."""
    try:
        seconds = float(told or "")
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) else None

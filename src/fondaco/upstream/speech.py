"""One speech exchange with an engine: the request out, audio back, every failure as one of our errors.

Our own engines are asked for events, which say how far the text has been spoken; other servers for plain audio.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from fondaco.content import Sealed
from fondaco.errors import InferenceFailed, UpstreamFailed
from fondaco.upstream.faults import failed, refusal
from fondaco.upstream.sse import Blocks, payloads
from fondaco.upstream.transport import AnswerTooLarge, Exchange, Target, Transport, TransportError

PATH = "/audio/speech"

MAX_AUDIO = 256 * 1024 * 1024
"""Bytes: the longest text, read as slowly as may be, is 225 MB of 48 kHz stereo."""


class EngineVoice(Sealed):
    id: str


class EngineSpeech(Sealed, omit_defaults=True, kw_only=True):
    """The body of an engine's `/v1/audio/speech`. UNSET fields are not sent."""

    input: str
    voice: str | EngineVoice
    response_format: str
    model: str | UnsetType = UNSET
    speed: float | UnsetType = UNSET
    language: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    stream_format: Literal["sse"] | UnsetType = UNSET
    streaming: bool | UnsetType = UNSET


class Sound(Sealed):
    audio: bytes
    characters: int | None
    """How much of the text has been spoken; None where the engine does not say."""


class _Event(Sealed):
    type: str = ""
    audio: bytes = b""
    characters: int | None = None


class SpeechReply:
    """An answer that an engine has begun: take its sounds with `more`, and always `aclose` it."""

    def __init__(self, exchange: Exchange) -> None:
        """Raises UpstreamFailed when the answer is no audio."""
        self._exchange = exchange
        self._pieces = exchange.chunks()
        kind = exchange.headers.get(b"content-type", b"").lower()
        if kind.startswith((b"application/json", b"text/html", b"text/plain")):
            raise UpstreamFailed
        self._blocks = Blocks() if kind.startswith(b"text/event-stream") else None
        self._over = False
        self._given = 0

    async def more(self) -> Sound | None:
        """What came next; None when all has been said. Raises UpstreamFailed, RequestTimeout or InferenceFailed."""
        try:
            while not self._over:
                piece = await anext(self._pieces, None)
                self._given += len(piece or b"")
                if self._given > MAX_AUDIO:
                    raise AnswerTooLarge
                if self._blocks is None:
                    self._over = piece is None
                    if piece:
                        return Sound(piece, None)
                elif (sound := self._heard(self._blocks, piece)) is not None:
                    return sound
        except TransportError as error:
            raise failed(error) from None
        return None

    async def aclose(self) -> None:
        """Leave the engine: at once if it still talks."""
        self._over = True
        await self._exchange.aclose()

    def _heard(self, blocks: Blocks, piece: bytes | None) -> Sound | None:
        block = blocks.end() if piece is None else blocks.feed(piece)
        audio, characters, told = b"", None, False
        for payload in payloads(block):
            event = _event(payload)
            if event.type == "error":
                raise InferenceFailed
            if event.type == "speech.audio.done":
                self._over = True
            audio += event.audio
            characters = characters if event.characters is None else event.characters
            told = True
        if piece is None and not self._over:
            raise UpstreamFailed
        return Sound(audio, characters) if told else None


async def speak(transport: Transport, target: Target, body: EngineSpeech) -> SpeechReply:
    """Send a request and wait until the engine begins. Raises the error that its refusal or silence means."""
    try:
        exchange = await transport.send(target, "POST", PATH, msgspec.json.encode(body))
        try:
            if exchange.status == 200:
                return SpeechReply(exchange)
            raise await refusal(exchange)
        except BaseException:
            await exchange.aclose()
            raise
    except TransportError as error:
        raise failed(error) from None


def _event(payload: bytes) -> _Event:
    if payload == b"[DONE]":
        return _Event("speech.audio.done")
    try:
        return msgspec.json.decode(payload, type=_Event)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise UpstreamFailed from None

"""The speech engine as an ASGI app. It knows nothing of who started it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fondaco.engines.launch import Launch
from fondaco.engines.serving import LoadFailed, Refusal, engine_app, kept_alive
from fondaco.engines.speech import wire
from fondaco.engines.speech.encoding import FORMATS
from fondaco.engines.speech.g2p.languages import EXTRAS, Languages
from fondaco.engines.speech.kokoro import Kokoro
from fondaco.engines.speech.reading import Reader, Reading, Spoken
from fondaco.engines.speech.voices import (
    ALIASES,
    VOICES,
    language_named,
    language_of,
    voice_named,
    voices_like,
)

MAX_BODY = 1 << 20

BLOCK = 48 * 1024
"""Bytes of audio in an event."""


def create(launch: Launch) -> Starlette:
    """Kokoro's app. Its files: the model, and by role `voices`, `words` and `letters` (of English).

    Raises ImportError when a runtime is not installed, and LoadFailed.
    """
    try:
        languages = Languages(launch.files)
        model = Kokoro(launch.model, launch.files["voices"], launch.threads)
    except (KeyError, OSError, ValueError) as error:
        raise LoadFailed from error
    route = Route("/v1/audio/speech", _Speech(Reader(model, languages)).answer, methods=["POST"])
    row = {
        "voices": VOICES,
        "voice_aliases": ALIASES,
        "languages": languages.installed,
        "formats": tuple(FORMATS),
        "max_input": wire.MAX_CHARACTERS,
    }
    return engine_app(launch, [route], row)


class _Speech:
    """POST /v1/audio/speech."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def answer(self, http: Request) -> Response:
        asked = wire.decode(await _body(http))
        spoken = self._reader.read(self._reading(asked))
        first = await anext(spoken, None)
        if first is None:
            raise Refusal(400, "nothing_speakable", "Input must contain speakable text", "input")
        rest = _from(first, spoken)
        media_type = FORMATS[asked.response_format].media_type
        if asked.stream_format == "sse":
            return StreamingResponse(kept_alive(_events(rest)), media_type="text/event-stream")
        if asked.streams:
            return StreamingResponse(
                (piece.audio async for piece in rest if piece.audio), media_type=media_type
            )
        return Response(await _whole(rest, http), media_type=media_type)

    def _reading(self, asked: wire.SpeechRequest) -> Reading:
        voice = voice_named(asked.voice_name)
        if voice is None:
            near = voices_like(asked.voice_name)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            message = f"There is no such voice.{meant} The voices are {', '.join([*VOICES, *ALIASES])}."
            raise Refusal(400, "unknown_voice", message, "voice")
        language = language_of(voice) if asked.language is None else language_named(asked.language, voice)
        installed = self._reader.languages.installed
        if language is None:
            message = f"`language` must be one of {', '.join(installed)}."
            raise Refusal(400, "unknown_language", message, "language")
        if language not in installed:
            param = "voice" if asked.language is None else "language"
            message = f"The language of this voice ({language}) cannot be spoken here until {EXTRAS[language]} is installed."
            raise Refusal(400, "language_not_installed", message, param)
        return Reading(asked.input, voice, language, asked.speed, asked.response_format, asked.streams)


async def _body(http: Request) -> bytes:
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Refusal(413, "too_large", f"The body must be at most {MAX_BODY} bytes.")
    return bytes(body)


async def _from(first: Spoken, rest: AsyncIterator[Spoken]) -> AsyncIterator[Spoken]:
    yield first
    async for spoken in rest:
        yield spoken


async def _whole(pieces: AsyncIterator[Spoken], http: Request) -> bytes:
    """The whole file, unless the client leaves before it is done."""
    audio = b""
    async for piece in pieces:
        audio += piece.audio
        if await http.is_disconnected():
            break
    return audio


async def _events(pieces: AsyncIterator[Spoken]) -> AsyncGenerator[bytes]:
    characters = phonemes = 0
    try:
        async for piece in pieces:
            characters, phonemes = piece.characters, phonemes + piece.phonemes
            # A file that came whole is sent in blocks; a piece that gave no bytes still tells how far it is.
            for start in range(0, max(1, len(piece.audio)), BLOCK):
                yield wire.event(wire.AudioDelta(piece.audio[start : start + BLOCK], characters))
    except Exception:
        yield wire.event(wire.SpeechFailed())
        raise
    yield wire.event(wire.AudioDone(wire.Usage(phonemes, 0, phonemes), characters))

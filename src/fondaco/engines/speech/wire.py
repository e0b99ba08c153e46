"""What the speech engine is asked and what it answers: OpenAI's `/v1/audio/speech`, and a little more."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec

from fondaco.content import Sealed
from fondaco.engines.serving import Refusal
from fondaco.engines.speech.voices import DEFAULT_VOICE

MAX_CHARACTERS = 4096
SLOWEST, FASTEST = 0.25, 4.0


class VoiceReference(Sealed):
    id: str


class SpeechRequest(Sealed, kw_only=True):
    """Fields that are not here are passed over, as other engines take others."""

    input: str
    voice: str | VoiceReference = DEFAULT_VOICE
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, msgspec.Meta(ge=SLOWEST, le=FASTEST)] = 1
    language: str | None = None
    """Ours: a language to speak in, where it is not the voice's own."""
    stream_format: Literal["audio", "sse"] = "audio"
    streaming: bool | None = None
    """Ours: whether audio is sent while it is made. Otherwise files are sent whole, their headers saying how long they
    are; events still tell how far it is. As `stream_format` is `sse` where it is not given."""

    @property
    def voice_name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id

    @property
    def streams(self) -> bool:
        return self.stream_format == "sse" if self.streaming is None else self.streaming


class AudioDelta(Sealed, tag="speech.audio.delta", tag_field="type"):
    audio: bytes
    """In base64; empty where only `characters` grew."""
    characters: int
    """Ours: how many characters of the input have been spoken up to here."""


class Usage(msgspec.Struct, frozen=True):
    input_tokens: int
    """Phonemes."""
    output_tokens: int
    total_tokens: int


class AudioDone(msgspec.Struct, frozen=True, tag="speech.audio.done", tag_field="type"):
    usage: Usage
    characters: int


class Fault(msgspec.Struct, frozen=True):
    message: str = "The engine failed."
    type: str = "server_error"
    code: str = "engine_failed"


class SpeechFailed(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    """Ours: the last event of a stream that broke."""

    error: Fault = Fault()


def decode(body: bytes) -> SpeechRequest:
    """Raises Refusal, which names the field."""
    try:
        request = msgspec.json.decode(body, type=SpeechRequest)
    except msgspec.ValidationError as error:
        message = str(error)
        field = re.search(r"`\$\.(\w+)|required field `(\w+)`", message)
        raise Refusal(400, "invalid_request", message, field and (field[1] or field[2])) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(400, "invalid_json", "The body is not JSON.") from None
    if not request.input:
        raise Refusal(400, "invalid_request", "`input` must not be empty.", "input")
    if len(request.input) > MAX_CHARACTERS:
        message = f"`input` must have at most {MAX_CHARACTERS} characters."
        raise Refusal(400, "invalid_request", message, "input")
    return request


def event(message: AudioDelta | AudioDone | SpeechFailed) -> bytes:
    return b"data: " + msgspec.json.encode(message) + b"\n\n"

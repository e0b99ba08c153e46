"""The body of POST /audio/speech (CONTRACT 7.1, and OpenAI's fields), and its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from fondaco.content import Sealed

AudioFormat: TypeAlias = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

MEDIA_TYPES: Mapping[AudioFormat, bytes] = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/opus",
    "aac": b"audio/aac",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}

MAX_CHARACTERS = 4096


class VoiceReference(Sealed, kw_only=True):
    """A voice as OpenAI's newer clients name one of their own."""

    id: Annotated[str, Meta(max_length=512)]


class SpeechRequest(Sealed, kw_only=True, forbid_unknown_fields=True):
    """A null stands for an absent field wherever one is optional."""

    input: Annotated[str, Meta(min_length=1, max_length=MAX_CHARACTERS, description="What to read aloud.")]
    model: str | None = None
    voice: Annotated[str, Meta(max_length=512)] | VoiceReference | None = None
    response_format: AudioFormat | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    streaming: Annotated[
        bool | None, Meta(description="Whether audio is sent while it is made; else it comes whole.")
    ] = None
    language: Annotated[str, Meta(min_length=2, max_length=32)] | None = None
    prompt: Annotated[str, Meta(max_length=500)] | None = None
    instructions: Annotated[str, Meta(max_length=4096)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stream_format: Literal["audio", "sse"] | None = None


class AudioDelta(Sealed, tag="speech.audio.delta", tag_field="type"):
    """One event of `stream_format` `sse`."""

    audio: bytes


class SpeechUsage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int


class AudioDone(msgspec.Struct, tag="speech.audio.done", tag_field="type"):
    """The last one. Speech is paid by the character: one counts as a token here."""

    usage: SpeechUsage

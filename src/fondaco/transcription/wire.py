"""The form of a transcription request, and its answers (CONTRACT 7.2)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from fondaco.content import Sealed
from fondaco.upstream.transcription import Segment, Word

DEFAULT_MODEL = "nvidia/parakeet-tdt-0.6b-v3"

ResponseFormat: TypeAlias = Literal["json", "text", "srt", "verbose_json", "vtt"]


class TranscriptionRequest(Sealed, kw_only=True):
    """The form's fields beside `file`. Others are passed over."""

    model: str = DEFAULT_MODEL
    response_format: ResponseFormat = "json"
    timestamps: bool = False
    """Times of segments, words and letters in the answer (`json` and `verbose_json`)."""
    timestamp_granularities: Annotated[list[Literal["word", "segment"]], Meta(max_length=16)] | None = None
    """OpenAI's: what `verbose_json` holds. Unset: segments."""
    language: str | None = None
    """ISO-639-1, such as `en`. Unset: the model finds out."""
    prompt: str | None = None
    """How names and terms are spelt, in the audio's language."""
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None


class SegmentTimes(Sealed):
    text: str
    start: float
    end: float


class CharTimes(Sealed):
    char: str
    start: float
    end: float


class Timestamps(Sealed, kw_only=True):
    """In seconds from the beginning. Models here time words: a letter's times share its word's evenly."""

    word: list[Word] | UnsetType = UNSET
    segment: list[SegmentTimes]
    char: list[CharTimes] | UnsetType = UNSET


class Usage(Sealed, kw_only=True):
    type: Literal["duration"] = "duration"
    seconds: int


class Transcription(Sealed, kw_only=True):
    """`json`. `model` is what really ran."""

    text: str
    duration: float | UnsetType = UNSET
    timestamps: Timestamps | UnsetType = UNSET
    model: str
    usage: Usage | UnsetType = UNSET


class VerboseTranscription(Sealed, kw_only=True):
    """`verbose_json`, as OpenAI has it, and the model that ran."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    duration: float
    text: str
    words: list[Word] | UnsetType = UNSET
    segments: list[Segment] | UnsetType = UNSET
    timestamps: Timestamps | UnsetType = UNSET
    model: str
    usage: Usage

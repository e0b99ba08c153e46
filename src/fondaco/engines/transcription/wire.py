"""What a caller asks of a transcription, and what is written down, in OpenAI's form."""

from __future__ import annotations

from typing import Literal

import msgspec

from fondaco.content import Sealed


class Word(Sealed):
    """Times in seconds from the file's beginning."""

    word: str
    start: float
    end: float


class Segment(Sealed, kw_only=True):
    """A stretch that was written down in one go. The model's own figures are zero where it has none."""

    id: int = 0
    seek: int = 0
    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: list[Word] | msgspec.UnsetType = msgspec.UNSET


class Wish(Sealed):
    """How a model is to listen."""

    language: str | None = None
    """ISO-639-1; None: it finds out."""
    prompt: str | None = None
    temperature: float = 0.0
    words: bool = False
    """Times of words are wanted."""


class DurationUsage(msgspec.Struct, frozen=True):
    seconds: int
    type: Literal["duration"] = "duration"


class Transcript(Sealed, kw_only=True):
    """`json`."""

    text: str
    usage: DurationUsage


class VerboseTranscript(Sealed, kw_only=True):
    """`verbose_json`."""

    task: Literal["transcribe"] = "transcribe"
    language: str
    """The language's English name; empty where nobody knows."""
    duration: float
    text: str
    words: list[Word] | msgspec.UnsetType = msgspec.UNSET
    segments: list[Segment] | msgspec.UnsetType = msgspec.UNSET
    usage: DurationUsage


# Events of a stream; their order is begun, segments, done.


class Begun(msgspec.Struct, frozen=True, tag="transcript.begun"):
    duration: float


class Heard(Sealed, tag="transcript.segment"):
    segment: Segment


class Done(Sealed, tag="transcript.done", kw_only=True):
    text: str
    language: str
    duration: float
    usage: DurationUsage

"""Where in a recording somebody speaks, in stretches that can be heard on their own.

Models invent words where there are none, so they hear nothing but speech. A stretch ends where nobody speaks, and
only one of them is in memory.
"""

from __future__ import annotations

import importlib
import math
from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from fondaco.content import Sealed
from fondaco.engines.transcription.recording import RATE, Samples

PADDING_SECONDS = 0.4
"""Kept before and after speech."""

STRETCH_SECONDS = 120.0
"""A stretch ends in a model's window that is partly empty, which is work for nothing, so it is not short."""


class Span(msgspec.Struct, frozen=True):
    """Samples from `start` to `end`."""

    start: int
    end: int


class Stretch(Sealed):
    """`spans` of `samples` are speech; `offset` is where it begins in the recording, in seconds."""

    samples: Samples
    spans: list[Span]
    offset: float


class Listening(msgspec.Struct, frozen=True):
    """How speech is told from what is not; in seconds."""

    longest: float = 30.0
    """Longer speech is cut at its last breath before that."""
    silence: float = 2.0
    """A shorter one belongs to the speech around it."""


class Joined:
    """A stretch's speech with the silences between left out, and the way back to the recording's times."""

    def __init__(self, stretch: Stretch) -> None:
        self.samples = np.empty(sum(span.end - span.start for span in stretch.spans), np.float32)
        self._offset = stretch.offset
        self._ends: list[float] = []
        """Where each span ends in `samples`, in seconds."""
        self._shifts: list[float] = []
        """How much later than in `samples` each is in the stretch."""
        at = 0
        for span in stretch.spans:
            self._shifts.append((span.start - at) / RATE)
            self.samples[at : at + span.end - span.start] = stretch.samples[span.start : span.end]
            at += span.end - span.start
            self._ends.append(at / RATE)

    def times(self, start: float, end: float, slack: float = math.inf) -> tuple[float, float]:
        """Where in the recording lies what is from `start` to `end` in `samples`.

        An edge that reaches less than `slack` over into another span is cut back to its own; without a limit all
        is taken to be in the span where its middle is.
        """
        middle = (start + end) / 2
        return self._time(start, min(start + slack, middle)), self._time(end, max(end - slack, middle))

    def _time(self, seconds: float, near: float) -> float:
        span = min(bisect(self._ends, near), len(self._ends) - 1)
        begin = self._ends[span - 1] if span else 0.0
        inside = min(max(seconds, begin), self._ends[span])
        return round(self._offset + self._shifts[span] + inside, 2)


def warm_up() -> None:
    """Load what tells speech, so that the first recording need not wait for it."""
    _vad().get_vad_model()


def stretches(pieces: Iterable[tuple[Samples, bool]], listening: Listening) -> Iterator[Stretch]:
    """A recording's stretches; those in which nobody speaks have no spans. `pieces` are as `Recording.pieces` gives them."""
    options = _vad().VadOptions(
        max_speech_duration_s=listening.longest,
        min_silence_duration_ms=int(listening.silence * 1000),
        speech_pad_ms=int(PADDING_SECONDS * 1000),
    )
    kept = np.empty(0, np.float32)
    offset = 0.0
    for piece, last in pieces:
        samples = _joined(kept, piece)
        spans = _spans(samples, options)
        cut = len(samples)
        if not last:
            # What is near the end may go on in the next piece, or be the beginning of a word.
            cut = max(0, cut - int((listening.silence + PADDING_SECONDS) * RATE))
            if spans and spans[-1].end > cut:
                cut = spans.pop().start
        yield Stretch(samples[:cut], spans, offset)
        kept = samples[cut:]
        offset += cut / RATE


def _spans(samples: Samples, options: Any) -> list[Span]:
    if not len(samples):
        return []
    spoken = _vad().get_speech_timestamps(samples, options)
    return [Span(int(span["start"]), int(span["end"])) for span in spoken]


def _joined(kept: Samples, piece: Samples) -> Samples:
    joined = np.empty(len(kept) + len(piece), np.float32)
    joined[: len(kept)], joined[len(kept) :] = kept, piece
    return joined


def _vad() -> Any:
    """Silero's model (MIT), which faster-whisper brings along and which ships no types."""
    return importlib.import_module("faster_whisper.vad")

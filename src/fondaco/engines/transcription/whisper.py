"""Whisper models in CTranslate2's form, run by faster-whisper."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET

from fondaco.engines.serving import LoadFailed
from fondaco.engines.transcription.recording import RATE, Samples
from fondaco.engines.transcription.speech import PADDING_SECONDS, Joined, Listening, Stretch
from fondaco.engines.transcription.wire import Segment, Wish, Word

BEAM_SIZE = 5
"""On this machine's CPU five hypotheses cost hardly more than one, and they get numbers and names right that one does not."""

WINDOW_SECONDS = 30
"""What a Whisper model hears at once."""

_STEP = 0.4
"""Between two temperatures. Whisper's own step is half of this, and makes a window that defeats it twice as dear."""
_FRAMES_A_SECOND = 100


def load_whisper(folder: Path, options: Mapping[str, str], threads: int) -> Whisper:
    """Raises ImportError, and LoadFailed.

    Options: `compute_type` (int8), `device` (cpu), `beam_size`.
    """
    # It ships no types.
    runtime: Any = importlib.import_module("faster_whisper")
    try:
        model = runtime.WhisperModel(
            str(folder),
            device=options.get("device", "cpu"),
            compute_type=options.get("compute_type", "int8"),
            cpu_threads=threads,
            local_files_only=True,
        )
    except (RuntimeError, ValueError, OSError):
        raise LoadFailed from None
    return Whisper(model, int(options.get("beam_size", BEAM_SIZE)))


class Whisper:
    listening = Listening()

    def __init__(self, model: Any, beam_size: int) -> None:
        self.languages = _languages(model)
        self._model = model
        self._beam_size = beam_size
        self._encode = model.encode
        self._encoded: tuple[Any, Any] | None = None
        model.encode = self._encode_once

    def hear(self, stretch: Stretch, wish: Wish) -> tuple[str, Iterator[Segment]]:
        joined = Joined(stretch)
        segments, info = self._model.transcribe(
            joined.samples,
            language=wish.language or self._language(joined.samples),
            initial_prompt=wish.prompt,
            temperature=temperatures(wish.temperature),
            word_timestamps=wish.words,
            beam_size=self._beam_size,
        )
        return str(info.language), _told(segments, joined, words=wish.words)

    def _language(self, speech: Samples) -> str:
        """The language of the first window, heard in the very frames that it is transcribed from."""
        if len(self.languages) == 1:
            return next(iter(self.languages))  # a model for English alone cannot be asked
        frames = self._model.feature_extractor(speech[: WINDOW_SECONDS * RATE])[..., :-1]
        language, _, _ = self._model.detect_language(features=frames)
        return str(language)

    def _encode_once(self, features: Any) -> Any:
        """Encoding is most of the work, and the first window would be encoded for its language and for its words."""
        known = self._encoded
        if known is not None and known[0].shape == features.shape and (known[0] == features).all():
            self._encoded = None
            return known[1]
        encoded = self._encode(features)
        self._encoded = (features, encoded)
        return encoded


def _languages(model: Any) -> frozenset[str]:
    """Older models lack the youngest of the languages that the runtime lists: they have no token for it."""
    listed: list[str] = model.supported_languages
    if len(listed) == 1:
        return frozenset(listed)
    return frozenset(code for code in listed if model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None)


def _told(segments: Iterator[Any], joined: Joined, *, words: bool) -> Iterator[Segment]:
    for each in segments:
        told = [_word(word, joined) for word in each.words or ()]
        start, end = joined.times(float(each.start), float(each.end), PADDING_SECONDS)
        if told:
            start, end = told[0].start, told[-1].end
        yield Segment(
            seek=int(start * _FRAMES_A_SECOND),
            start=start,
            end=end,
            text=each.text,
            tokens=tuple(each.tokens),
            # Some come as numbers of numpy.
            temperature=float(each.temperature),
            avg_logprob=float(each.avg_logprob),
            compression_ratio=float(each.compression_ratio),
            no_speech_prob=float(each.no_speech_prob),
            words=told if words else UNSET,
        )


def _word(word: Any, joined: Joined) -> Word:
    return Word(word.word.strip(), *joined.times(float(word.start), float(word.end)))


def temperatures(lowest: float) -> list[float]:
    """What is tried in turn where the model is unsure or says the same thing over and over."""
    steps = int((1.0 - min(lowest, 1.0)) / _STEP + 1e-9)
    return [round(lowest + _STEP * step, 2) for step in range(steps + 1)]

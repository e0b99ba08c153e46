"""NVIDIA's Parakeet and its like as ONNX, run by onnx-asr (the extra `parakeet`)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fondaco.engines.serving import LoadFailed
from fondaco.engines.transcription.recording import RATE
from fondaco.engines.transcription.speech import Listening, Stretch
from fondaco.engines.transcription.wire import Segment, Wish, Word

_TYPE = "nemo-conformer-tdt"
_QUANTIZED = re.compile(r"encoder-model[._-](\w+)\.onnx")
_LONGEST_WORD_END = 0.32
"""Seconds that a word lasts at most after its last token began: these models tell beginnings only."""


def load_parakeet(folder: Path, main: str, threads: int) -> Parakeet:
    """`main` is its encoder, `encoder-model.onnx` or `encoder-model.int8.onnx`. Raises ImportError, and LoadFailed.

    What the model is stands in the folder's `config.json` (`model_type`), else it is a Parakeet TDT.
    """
    # Any: what its functions give is typed by names of its own that are not public.
    runtime: Any = importlib.import_module("onnx_asr")
    onnx: Any = importlib.import_module("onnxruntime")
    options = onnx.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    quantized = _QUANTIZED.fullmatch(main)
    try:
        model = runtime.load_model(
            _model_type(folder),
            folder,
            quantization=quantized[1] if quantized else None,
            sess_options=options,
            providers=["CPUExecutionProvider"],
        )
    except Exception:  # onnxruntime's errors share no base but this one
        raise LoadFailed from None
    return Parakeet(model.with_timestamps())


def _model_type(folder: Path) -> str:
    try:
        told = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return _TYPE
    return str(told.get("model_type", _TYPE))


class Parakeet:
    """It finds out the language itself, takes no prompt, and is always sure."""

    languages = frozenset[str]()
    listening = Listening(longest=30.0, silence=0.5)

    def __init__(self, model: Any) -> None:
        self._model = model

    def hear(self, stretch: Stretch, wish: Wish) -> tuple[str, Iterator[Segment]]:
        return "", self._segments(stretch, words=wish.words)

    def _segments(self, stretch: Stretch, *, words: bool) -> Iterator[Segment]:
        for span in stretch.spans:
            heard = self._model.recognize(stretch.samples[span.start : span.end])
            text = str(heard.text).strip()
            if not text:
                continue
            start, end = stretch.offset + span.start / RATE, stretch.offset + span.end / RATE
            logprobs: list[float] = heard.logprobs or []
            segment = Segment(
                seek=int(start * 100),
                start=round(start, 2),
                end=round(end, 2),
                text=f" {text}",
                avg_logprob=sum(logprobs) / len(logprobs) if logprobs else 0.0,
            )
            if words:
                told = words_of(heard.tokens or [], heard.timestamps or [], start, end)
                segment = msgspec.structs.replace(segment, words=told)
            yield segment


def words_of(tokens: Sequence[str], times: Sequence[float], start: float, end: float) -> list[Word]:
    """Words of a segment that lasts from `start` to `end`. A token that begins with a space begins a word."""
    begun: list[tuple[str, float, float]] = []
    for token, time in zip(tokens, times, strict=True):
        if begun and not token.startswith(" "):
            text, first, _ = begun[-1]
            begun[-1] = (text + token, first, time)
        else:
            begun.append((token, time, time))
    nexts = [*(first for _, first, _ in begun[1:]), end - start][: len(begun)]
    return [
        Word(text.strip(), round(start + first, 2), round(start + min(after, last + _LONGEST_WORD_END), 2))
        for (text, first, last), after in zip(begun, nexts, strict=True)
        if text.strip()
    ]

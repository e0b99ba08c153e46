"""Which languages a Whisper model can be asked for, by its own tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fondaco.engines.transcription.recording import RATE
from fondaco.engines.transcription.speech import Span, Stretch
from fondaco.engines.transcription.whisper import Whisper
from fondaco.engines.transcription.wire import Wish

HALF = Stretch(np.zeros(RATE, np.float32), [Span(0, RATE)], 0.0)


class Runtime:
    """As faster-whisper has it, of a model with tokens for some of the languages that it lists."""

    def __init__(self, listed: list[str], tokens: set[str]) -> None:
        self.supported_languages = listed
        self.hf_tokenizer = SimpleNamespace(token_to_id=lambda token: 5 if token in tokens else None)
        self.encode = None
        self.asked: list[str] = []

    def detect_language(self, **_: Any) -> Any:
        raise RuntimeError("detect_language can only be called on multilingual models")

    def transcribe(self, samples: Any, *, language: str, **_: Any) -> Any:
        self.asked.append(language)
        return iter(()), SimpleNamespace(language=language)


def test_a_language_without_a_token_is_not_offered() -> None:
    whisper = Whisper(Runtime(["en", "de", "yue"], {"<|en|>", "<|de|>"}), 1)
    assert whisper.languages == {"en", "de"}


def test_a_model_for_english_alone_is_not_asked_what_it_hears() -> None:
    runtime = Runtime(["en"], set())
    whisper = Whisper(runtime, 1)
    assert whisper.languages == {"en"}
    assert whisper.hear(HALF, Wish())[0] == "en"
    assert runtime.asked == ["en"]

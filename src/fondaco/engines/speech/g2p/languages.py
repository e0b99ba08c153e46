"""The languages that can be spoken here, and how to come by those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from fondaco.engines.speech.g2p.chinese import Mandarin
from fondaco.engines.speech.g2p.english import english
from fondaco.engines.speech.g2p.espeak import VOICES as ESPEAK_LANGUAGES
from fondaco.engines.speech.g2p.espeak import Espeak, EspeakLanguage, installed_library
from fondaco.engines.speech.g2p.japanese import Japanese
from fondaco.engines.speech.g2p.scripts import cleaned, runs
from fondaco.engines.speech.kokoro import SPOKEN, known

EXTRAS: Mapping[str, str] = {
    "ja": "fondaco[local]",
    "zh": "fondaco[local]",
    **dict.fromkeys(ESPEAK_LANGUAGES, "fondaco[speech-espeak]"),
}
"""What to install for a language."""


class Phonemizer(Protocol):
    def phonemes(self, text: str) -> str:
        """What `text` sounds like, in Kokoro's symbols and perhaps others; it may be empty."""
        ...


def loadable() -> dict[str, Callable[[], Phonemizer]]:
    """The languages beside English that are installed."""
    loads: dict[str, Callable[[], Phonemizer]] = {}
    if find_spec("haqumei"):
        loads["ja"] = Japanese
    if all(map(find_spec, ("pypinyin", "pinyin_to_ipa", "cn2an"))):
        loads["zh"] = Mandarin
    if (library := installed_library()) is not None:
        espeak = Espeak(library)
        loads.update({language: partial(EspeakLanguage, espeak, language) for language in ESPEAK_LANGUAGES})
    return loads


class Languages:
    def __init__(self, files: Mapping[str, str]) -> None:
        """`files` by role: `words` and `letters` of English. Raises ImportError, KeyError, OSError and ValueError."""
        american, british = english(Path(files["words"]), Path(files["letters"]))
        self._loaded: dict[str, Phonemizer] = {"en-us": american, "en-gb": british}
        self._loads = loadable()
        self.installed = tuple(sorted([*self._loaded, *self._loads]))
        """Each is loaded when it is first spoken."""

    def phonemes(self, text: str, language: str) -> str:
        """What Kokoro is to say for `text` in an installed language, other scripts in theirs; empty when nothing is."""
        parts = (
            self._phonemizer(spoken).phonemes(part)
            for spoken, part in runs(cleaned(text), language)
            if spoken in self.installed and part.strip()
        )
        phonemes = known(" ".join(parts))
        return phonemes if SPOKEN.intersection(phonemes) else ""

    def _phonemizer(self, language: str) -> Phonemizer:
        if language not in self._loaded:
            self._loaded[language] = self._loads[language]()
        return self._loaded[language]

"""Spanish, French, Hindi, Italian and Portuguese, as eSpeak NG says them in a process of its own.

eSpeak NG is under the GPL and is no part of Fondaco: its library is looked for where a user has installed it, and only
that process loads it.
"""

from __future__ import annotations

import ctypes.util
import json
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

VOICES: Mapping[str, str] = {"es": "es", "fr": "fr", "hi": "hi", "it": "it", "pt-br": "pt-br"}

_PROGRAM = Path(__file__).with_name("espeak_process.py")

_TIED = (
    ("a^ɪ", "I"), ("a^ʊ", "W"), ("d^z", "ʣ"), ("d^ʒ", "ʤ"), ("e^ɪ", "A"), ("o^ʊ", "O"), ("ə^ʊ", "Q"), ("s^s", "S"),
    ("t^s", "ʦ"), ("t^ʃ", "ʧ"), ("ɔ^ɪ", "Y"), ("^", ""), ("-", ""), ("g", "ɡ"),
)  # fmt: skip
_SWITCH = re.compile(r"\([a-z-]+\)")
"""What eSpeak NG says where it takes a word for another language's."""

_CLAUSES = re.compile(r"((?<!\d)[.,:](?!\d)|[.,:](?=\s|$)|[;!?¡¿—…«»“”\"()।]+)")
_MARKS = str.maketrans({"«": "“", "»": "”", "¡": None, "¿": None, "।": ".", '"': None})


class Espeak:
    """The process, started when first asked. Threads take turns."""

    def __init__(self, library: tuple[str, str]) -> None:
        """`library` as `installed_library` gives it."""
        self._command = [sys.executable, "-I", str(_PROGRAM), *library]
        self._process: subprocess.Popen[str] | None = None
        self._turn = threading.Lock()

    def said(self, voice: str, clauses: list[str]) -> list[str]:
        """The IPA of each clause, sounds of one symbol tied by `^`."""
        with self._turn:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    encoding="utf-8",
                )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps([voice, clauses]) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


class EspeakLanguage:
    def __init__(self, espeak: Espeak, language: str) -> None:
        self._espeak = espeak
        self._voice = VOICES[language]

    def phonemes(self, text: str) -> str:
        clauses = [clause for clause in _CLAUSES.split(text) if clause]
        spoken = [clause for clause in clauses if not _CLAUSES.fullmatch(clause) and clause.strip()]
        said = iter(self._espeak.said(self._voice, spoken))
        return "".join(
            clause.translate(_MARKS)
            if _CLAUSES.fullmatch(clause)
            else f" {_symbols(next(said))}"
            if clause.strip()
            else " "
            for clause in clauses
        ).strip()


def _symbols(ipa: str) -> str:
    ipa = _SWITCH.sub("", ipa)
    for tied, symbol in _TIED:
        ipa = ipa.replace(tied, symbol)
    return ipa.strip()


def installed_library() -> tuple[str, str] | None:
    """Where the library is, and its data where it cannot tell by itself. Nothing is imported or loaded."""
    if (spec := find_spec("espeakng_loader")) is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations)))
        for library in sorted([*folder.glob("libespeak-ng*"), *folder.glob("espeak-ng.dll")]):
            return str(library), str(folder / "espeak-ng-data")
    library = ctypes.util.find_library("espeak-ng")
    return (library, "") if library else None

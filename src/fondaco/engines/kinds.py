"""The kinds of local engine: the process that each runs as, what it needs installed, how much of the machine it takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from fondaco.engines.memory import MIB, footprint

EngineKind = Literal["text", "speech", "transcription", "embeddings", "gguf_embeddings"]


class Kind(msgspec.Struct, frozen=True):
    module: str
    """Run as `python -m`."""
    runtime: tuple[str, ...]
    """Modules that it runs on."""
    slots: int | None = None
    """Requests that it is given at once, and shares its time among by itself; None: `engines.slots`."""
    queue: int | None = None
    """Requests that may wait for it, each with its body in memory; None: 16 for each slot."""
    overhead_mib: int = 0
    """Memory that it takes beside its weights; those of text tell by themselves."""

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-m", self.module)

    @property
    def missing(self) -> list[str]:
        """Modules that it needs and that are not installed."""
        return [name for name in self.runtime if find_spec(name) is None]

    def footprint(self, files: Mapping[str, Path], context_tokens: int) -> int:
        """Bytes that a process with these files, by role, will hold. Reads the main one's head. Raises OSError."""
        if self.overhead_mib:
            return sum(file.stat().st_size for file in files.values()) + self.overhead_mib * MIB
        return footprint(files["model"], files.get("mmproj"), context_tokens)


KINDS: Mapping[EngineKind, Kind] = {
    "text": Kind("fondaco.engines.llama", ("xllamacpp",)),
    "speech": Kind(
        "fondaco.engines.speech",
        ("uvicorn", "onnxruntime", "av", "sentencex", "spokenform"),
        slots=4,
        overhead_mib=600,
    ),
    "transcription": Kind(
        "fondaco.engines.transcription",
        ("uvicorn", "faster_whisper", "av"),
        slots=4,
        queue=32,
        overhead_mib=500,
    ),
    "embeddings": Kind(
        "fondaco.engines.embeddings",
        ("uvicorn", "onnxruntime", "tokenizers", "ctranslate2", "onnx"),
        slots=256,
        queue=1024,
        overhead_mib=300,
    ),
    "gguf_embeddings": Kind("fondaco.engines.llama", ("xllamacpp",), slots=16, overhead_mib=450),
}


def installed() -> frozenset[EngineKind]:
    """Kinds that can run here."""
    return frozenset(name for name, kind in KINDS.items() if not kind.missing)

"""Kokoro-82M: phonemes and a voice's style in, a waveform out."""

from __future__ import annotations

import importlib
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fondaco.engines.serving import LoadFailed
from fondaco.engines.speech.voices import VOICES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Audio = NDArray[np.float32]

SAMPLE_RATE = 24_000

MAX_PHONEMES = 510
"""What the model takes at once, and the styles that a voice has: one for each length."""

STYLE = 256
"""Floats of a style."""

LONG = 160
"""Phonemes from which on the memory that a piece took is given back: 510 take half a gigabyte."""

SLOWEST, FASTEST = 0.5, 2.0
"""What the model speaks well by itself."""

_RUNS = {
    1: ";:,.!?", 9: "—…\"()“” ", 17: "\u0303", 18: "ʣʥʦʨᵝꭧ", 24: "A", 25: "I", 31: "O", 33: "Q", 35: "ST", 39: "W",
    41: "Yᵊabcdef", 50: "hijklmnopqrstuvwxyz", 69: "ɑɐɒæ", 75: "βɔɕç", 80: "ɖðʤə", 85: "ɚɛɜ", 90: "ɟ", 92: "ɡ",
    99: "ɥ", 101: "ɨɪʝ", 110: "ɯɰŋɳɲɴø", 118: "ɸθœ", 123: "ɹ", 125: "ɾɻ", 128: "ʁɽʂʃʈʧ", 135: "ʊʋ", 138: "ʌɣɤ",
    142: "χʎ", 147: "ʒʔ", 156: "ˈˌː", 162: "ʰ", 164: "ʲ", 169: "↓", 171: "→↗↘", 177: "ᵻ",
}  # fmt: skip

TOKENS = {symbol: token for first, symbols in _RUNS.items() for token, symbol in zip(count(first), symbols)}
"""The model's number of each phoneme and mark."""

MARKS = frozenset(';:,.!?—…"()“” ˈˌː')
"""Symbols that make no sound by themselves."""

SPOKEN = frozenset(TOKENS) - MARKS


class Kokoro:
    """One model in memory. Its session may be used by several threads."""

    def __init__(self, model: str, voices: str, threads: int) -> None:
        """Raises ImportError without onnxruntime or numpy, and LoadFailed."""
        ort: Any = importlib.import_module("onnxruntime")
        self._numpy: Any = importlib.import_module("numpy")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._giving_back = ort.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            styles = self._numpy.fromfile(Path(voices), self._numpy.dtype("<f4"))
            self._styles = styles.reshape(len(VOICES), MAX_PHONEMES, 1, STYLE)
        except Exception as error:  # the runtime raises its own kinds
            raise LoadFailed from error

    def speak(self, phonemes: str, voice: str, speed: float) -> Audio:
        """The waveform of 1 to 510 of TOKENS, mono float32 at SAMPLE_RATE. `speed` from SLOWEST to FASTEST."""
        numpy = self._numpy
        tokens = numpy.array([[0, *(TOKENS[symbol] for symbol in phonemes), 0]], numpy.int64)
        style = self._styles[VOICES.index(voice), len(phonemes) - 1]
        given = {"tokens": tokens, "style": style, "speed": numpy.array([speed], numpy.float32)}
        options = self._giving_back if len(phonemes) > LONG else None
        [audio] = self._session.run(["audio"], given, options)
        return audio


def known(phonemes: str) -> str:
    """What of `phonemes` the model knows, spaced as it was trained: once, and not before a mark."""
    kept = "".join(symbol for symbol in phonemes if symbol in TOKENS or symbol.isspace())
    return re.sub(r"\s+(?=[;:,.!?…)”])|(?<=[(“])\s+", "", " ".join(kept.split()))

"""English words that no dictionary has, said as a small network reads their letters.

The network is g2p-en's (Park and Kim, 2019): a GRU that encodes the letters and one that decodes phonemes of the CMU
dictionary. It takes about a millisecond a letter.
"""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

_LETTERS = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz", start=3)}
_UNKNOWN_LETTER, _END_OF_WORD = 1, 2

_PHONEMES = re.findall(
    r"\S+",
    "<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0 EH1 "
    "EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH T TH "
    "UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH",
)
_BEGIN, _END = 2, 3

_MOST_PHONEMES = 30
_LONGEST = 30
"""Letters of a word that are read; the network was never shown longer ones."""

_SYMBOLS = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "W", "AY": "I", "B": "b", "CH": "ʧ", "D": "d", "DH": "ð",
    "EH": "ɛ", "ER": "ɜɹ", "EY": "A", "F": "f", "G": "ɡ", "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʤ", "K": "k",
    "L": "l", "M": "m", "N": "n", "NG": "ŋ", "OW": "O", "OY": "Y", "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_UNSTRESSED = {"AH": "ə", "ER": "əɹ"}
_STRESS = {"1": "ˈ", "2": "ˌ"}

_BRITISH = (
    (r"ɜɹ", "ɜː"), (r"[ɪi](ˈ|ˌ)?ɹ(?![AIOWYaiuæɑəɛɜɪʊʌˈˌ])", "ɪə"), (r"ɛɹ(?![AIOWYaiuæɑəɛɜɪʊʌˈˌ])", "ɛː"),
    (r"[ɔO]ɹ(?![AIOWYaiuæɑəɛɜɪʊʌˈˌ])", "ɔː"), (r"ɹ(?![AIOWYaiuæɑəɛɜɪʊʌˈˌ])", ""),
    (r"O", "Q"), (r"ɑ", "ɑː"), (r"ɔ(?!ː)", "ɔː"), (r"æ", "a"), (r"(?<=[ˈˌ])i|i(?!$)", "iː"), (r"u", "uː"),
)  # fmt: skip
"""American into British, first to last: no r before a consonant, other vowels."""


class UnknownWords:
    def __init__(self, network: Path) -> None:
        """Raises ImportError without numpy, OSError and ValueError when `network` is not the network."""
        self._numpy: Any = importlib.import_module("numpy")
        with self._numpy.load(network, allow_pickle=False) as arrays:
            self._arrays: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        if "fc_b" not in self._arrays or self._arrays["fc_b"].shape != (len(_PHONEMES),):
            raise ValueError("not the network of g2p-en")
        self._arpabet = lru_cache(maxsize=2048)(self._decode)

    def word(self, word: str, *, british: bool) -> str:
        """How `word` is probably said. Letters without accents."""
        said = "".join(_symbol(phoneme) for phoneme in self._arpabet(word.lower()[:_LONGEST]))
        for american, replacement in _BRITISH if british else ():
            said = re.sub(american, replacement, said)
        return said

    def _decode(self, word: str) -> tuple[str, ...]:
        numpy, arrays = self._numpy, self._arrays
        state = numpy.zeros(arrays["enc_w_hh"].shape[1], numpy.float32)
        for letter in [*(_LETTERS.get(letter, _UNKNOWN_LETTER) for letter in word), _END_OF_WORD]:
            state = self._step("enc", letter, state)
        phoneme, phonemes = _BEGIN, list[str]()
        for _ in range(_MOST_PHONEMES):
            state = self._step("dec", phoneme, state)
            phoneme = int((arrays["fc_w"] @ state + arrays["fc_b"]).argmax())
            if phoneme == _END:
                break
            phonemes.append(_PHONEMES[phoneme])
        return tuple(phonemes)

    def _step(self, part: str, symbol: int, state: Any) -> Any:
        """One step of a gated recurrent unit."""
        numpy, arrays = self._numpy, self._arrays
        fed = arrays[f"{part}_w_ih"] @ arrays[f"{part}_emb"][symbol] + arrays[f"{part}_b_ih"]
        kept = arrays[f"{part}_w_hh"] @ state + arrays[f"{part}_b_hh"]
        fed_reset, fed_update, fed_new = numpy.split(fed, 3)
        kept_reset, kept_update, kept_new = numpy.split(kept, 3)
        reset = 1 / (1 + numpy.exp(-(fed_reset + kept_reset)))
        update = 1 / (1 + numpy.exp(-(fed_update + kept_update)))
        new = numpy.tanh(fed_new + reset * kept_new)
        return (1 - update) * new + update * state


def _symbol(phoneme: str) -> str:
    name, stress = phoneme.rstrip("012"), phoneme[-1]
    if stress == "0" and name in _UNSTRESSED:
        return _UNSTRESSED[name]
    return _STRESS.get(stress, "") + _SYMBOLS.get(name, "")

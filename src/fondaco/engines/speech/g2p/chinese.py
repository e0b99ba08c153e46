"""Mandarin: numbers in characters, characters in pinyin with the tones that neighbours give them, pinyin in sounds."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

_HAN = re.compile(r"[\u3400-\u9fff]+")

_MARKS = str.maketrans({
    "，": ",", "、": ",", "。": ".", "．": ".", "！": "!", "？": "?", "：": ":", "；": ";", "（": "(", "）": ")",
    "《": "“", "》": "”", "「": "“", "」": "”", "『": "“", "』": "”", "【": "“", "】": "”", "～": "—", "〜": "—",
    "＂": '"', "‘": "“", "’": "”",
})  # fmt: skip

_SOUNDS = (
    ("tsʰ", "ʦʰ"), ("ts", "ʦ"), ("ʈʂʰ", "ꭧʰ"), ("ʈʂ", "ꭧ"), ("tɕ", "ʨ"), ("ɻ̩", "ɨ"), ("ɹ̩", "ɨ"),
    ("˧˩˧", "↓"), ("˧˥", "↗"), ("˥˩", "↘"), ("˥", "→"), ("̯", ""),
)  # fmt: skip
"""From IPA to what Kokoro calls it, the longest first."""

_SPELLED = (
    (re.compile(r"(\d{1,2}):(\d\d)(?!\d)"), r"\1点\2分"),
    (re.compile(r"[¥￥]\s?(\d[\d,.]*\d|\d)"), r"\1元"),
    (re.compile(r"\$\s?(\d[\d,.]*\d|\d)"), r"\1美元"),
    (re.compile(r"€\s?(\d[\d,.]*\d|\d)"), r"\1欧元"),
    (re.compile(r"(?<=\d),(?=\d{3})"), ""),
)
_BY_DIGIT = re.compile(r"\d{7,}|\d{4}(?=年)|(?<![\d.])0\d+")
_DIGITS = "零一二三四五六七八九"


class Mandarin:
    def __init__(self) -> None:
        """Raises ImportError without pypinyin, pinyin-to-ipa and cn2an."""
        self._pinyin: Any = importlib.import_module("pypinyin")
        self._words: Any = importlib.import_module("pypinyin.seg.mmseg").seg
        self._ipa: Any = importlib.import_module("pinyin_to_ipa").pinyin_to_ipa
        self._numbers: Any = importlib.import_module("cn2an").transform

    def phonemes(self, text: str) -> str:
        text = self._in_words(text).translate(_MARKS)
        said = _HAN.sub(lambda han: f" {' '.join(self._said(han[0]))} ", text)
        return re.sub(r"\s+(?=[,.!?:;)”]|$)", "", said).strip()

    def _in_words(self, text: str) -> str:
        for pattern, spelled in _SPELLED:
            text = pattern.sub(spelled, text)
        text = _BY_DIGIT.sub(lambda digits: "".join(_DIGITS[int(digit)] for digit in digits[0]), text)
        try:
            return self._numbers(text, "an2cn")
        except ValueError:  # a number beyond what it counts
            return re.sub(r"\d", lambda digit: _DIGITS[int(digit[0])], text)

    def _said(self, han: str) -> Iterator[str]:
        """Word by word."""
        style = self._pinyin.Style.TONE3
        syllables = iter(
            self._pinyin.lazy_pinyin(han, style=style, neutral_tone_with_five=True, tone_sandhi=True)
        )
        for word in self._words.cut(han):
            yield "".join(self._syllable(next(syllables)) for _ in word)

    def _syllable(self, pinyin: str) -> str:
        try:
            said = "".join(next(iter(self._ipa(pinyin))))
        except (ValueError, StopIteration):  # a character without a reading
            return ""
        for ipa, symbol in _SOUNDS:
            said = said.replace(ipa, symbol)
        return said

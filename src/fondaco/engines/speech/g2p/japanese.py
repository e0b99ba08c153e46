"""Japanese: words and their readings by Open JTalk's dictionary, then mora by mora into Kokoro's symbols."""

from __future__ import annotations

import importlib
import re
from typing import Any

_KANA = dict(
    re.findall(
        r"(\S)(\S+)",
        "アa イi ウɯ エe オo カka キkʲi クkɯ ケke コko ガɡa ギɡʲi グɡɯ ゲɡe ゴɡo サsa シɕi スsɨ セse ソso ザʣa ジʥi ズzɨ ゼʣe "
        "ゾʣo タta チʨi ツʦɨ テte トto ダda ヂʥi ヅzɨ デde ドdo ナna ニɲi ヌnɯ ネne ノno ハha ヒçi フɸɯ ヘhe ホho バba ビbʲi ブbɯ "
        "ベbe ボbo パpa ピpʲi プpɯ ペpe ポpo マma ミmʲi ムmɯ メme モmo ヤja ユjɯ ヨjo ラɾa リɾʲi ルɾɯ レɾe ロɾo ワβa ヰi ヱe ヲo "
        "ヴvɯ ァa ィi ゥɯ ェe ォo ャja ュjɯ ョjo ヮβa",
    )
)
_SMALL = {"ァ": "a", "ィ": "i", "ゥ": "ɯ", "ェ": "e", "ォ": "o", "ャ": "a", "ュ": "ɨ", "ョ": "o", "ヮ": "a"}
_PALATALISING = "ィャュョ"
_PALATAL = "ʲɕʥʨɲçj"
_ODD = {"ウィ": "βi", "ウェ": "βe", "ウォ": "βo", "イェ": "je"}

_INFLECTING = ("動詞", "助動詞")
"""Parts of speech whose endings are words of their own to the dictionary, and are said without a gap."""

_MARKS = {
    "、": ",", "，": ",", "。": ".", "．": ".", "？": "?", "！": "!", "「": "“", "」": "”", "『": "“", "』": "”",
    "：": ":", "；": ";", "（": "(", "）": ")", "【": "(", "】": ")", "《": "(", "》": ")", "…": "…", "―": "—",
    "—": "—", "〜": "—", "～": "—", ",": ",", ".": ".", "?": "?", "!": "!", ":": ":", ";": ";",
}  # fmt: skip


class Japanese:
    def __init__(self) -> None:
        """Raises ImportError without haqumei."""
        runtime: Any = importlib.import_module("haqumei")
        self._reader = runtime.Haqumei()

    def phonemes(self, text: str) -> str:
        said, before = "", ""
        for word in self._reader.run_frontend(text):
            surface, kana = word.string, word.pron
            if marks := "".join(_MARKS.get(symbol, "") for symbol in surface):
                said += f" {marks}" if marks in "“(" else f"{marks} "
            elif sounds := _sounds(kana):
                inflected = word.pos == "助動詞" and before in _INFLECTING
                joined = kana.startswith("ー") or inflected or said.endswith(("“", "("))
                said += sounds if joined else f" {sounds}"
            before = word.pos
        return re.sub(r"ʔ(?=[,.!?]|$)", "", " ".join(said.split()))


def _sounds(kana: str) -> str:
    moras = re.findall(r".[ァィゥェォャュョヮ]?", re.sub(r"[^ァ-ヴー]", "", kana))
    sounds = [_mora(mora) for mora in moras]
    return "".join(
        _nasal("".join(sounds[at + 1 : at + 2])) if mora == "ン" else sound
        for at, (mora, sound) in enumerate(zip(moras, sounds, strict=True))
    )


def _mora(mora: str) -> str:
    if mora in _ODD:
        return _ODD[mora]
    if mora[0] in "ッーン":
        return {"ッ": "ʔ", "ー": "ː", "ン": ""}[mora[0]]
    whole = _KANA.get(mora[0], "")
    if len(mora) == 1:
        return whole
    onset, small = whole[:-1], mora[1]
    if mora[0] in "クグ" and small not in _PALATALISING[1:]:
        onset += "ᵝ"
    elif small in _PALATALISING and onset and onset[-1] not in _PALATAL:
        onset += "ʲ"
    return onset + _SMALL[small]


def _nasal(following: str) -> str:
    """`ン` is said where the tongue is for what follows."""
    match following[:1]:
        case "m" | "p" | "b":
            return "m"
        case "k" | "ɡ":
            return "ŋ"
        case "ɲ" | "ʨ" | "ʥ":
            return "ɲ"
        case "n" | "t" | "d" | "ɾ" | "z" | "ʣ" | "ʦ":
            return "n"
        case _:
            return "ɴ"

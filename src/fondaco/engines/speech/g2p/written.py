"""English as it is written into English as it is said: numbers, money, dates, abbreviations, addresses."""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any

LONGEST = 300
"""Characters that are prepared at once: the library's work grows with the square of their number."""

_LONGEST_NUMBER = 4
"""Digits that are read as one number."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MAGNITUDES = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}
_DECADES = {
    "20": "twenties", "30": "thirties", "40": "forties", "50": "fifties",
    "60": "sixties", "70": "seventies", "80": "eighties", "90": "nineties",
}  # fmt: skip
_SIGNS = {
    "&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees", "¢": "cents", "$": "dollars",
    "£": "pounds", "€": "euros", "¥": "yen", "×": "times", "÷": "divided by", "©": "copyright", "™": "trademark",
    "®": "registered", "§": "section", "#": "number", "<": "less than", ">": "greater than",
}  # fmt: skip

_REWRITES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    # Addresses: their points and strokes are said.
    (
        re.compile(r"(?:https?://|www\.)[^\s<>\"]*[\w/]|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII),
        lambda match: _address(match[0]),
    ),
    (
        re.compile(r"\b([\w-]+)\.(com|org|net|io|ai|dev|edu|gov|co|app)\b", re.ASCII),
        lambda match: f"{match[1]} dot {match[2]}",
    ),
    # $3M, £1.2bn: the letter is not a unit.
    (
        re.compile(r"([$£€¥])\s?(\d[\d,]*(?:\.\d+)?)\s?([kKmMbBtT])[nN]?\b"),
        lambda match: f"{match[1]}{match[2]} {_MAGNITUDES[match[3].lower()]}",
    ),
    (re.compile(r"['’]?\b(?:19|20)?([2-9]0)['’]?s\b"), lambda match: _decade(match)),
    # Heights: 6'2".
    (re.compile(r"\b(\d)['′](\d{1,2})[\"″]"), lambda match: f"{match[1]} foot {match[2]}"),
    # Ranges between numbers.
    (re.compile(r"(?<=\d)\s?[-–]\s?(?=\d+\s?(?:[a-z%]|$))"), lambda match: " to "),
    (re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d)?Z?"), lambda match: f"{match[1]} at {match[2]}"),
)
_SIGN = re.compile("|".join(re.escape(sign) for sign in _SIGNS))


class Written:
    def __init__(self) -> None:
        """Raises ImportError without spokenform."""
        self._library: Any = importlib.import_module("spokenform")

    def spoken(self, sentence: str) -> str:
        """`sentence` in words, its punctuation kept."""
        for pattern, rewrite in _REWRITES:
            sentence = pattern.sub(rewrite, sentence)
        pieces = re.findall(rf"\S.{{0,{LONGEST}}}(?!\S)|\S{{1,{LONGEST}}}", sentence)
        spoken = " ".join(self._library.prepare_for_kokorog2p(piece, "en").spoken_text for piece in pieces)
        return _SIGN.sub(lambda match: f" {_SIGNS[match[0]]} ", spoken)

    def number(self, digits: str) -> list[str]:
        """The words of digits that stand beside letters, as in `MP3`."""
        words: str = (
            self._library.prepare_for_kokorog2p(digits, "en").spoken_text
            if len(digits) <= _LONGEST_NUMBER
            else ""
        )
        if words.replace("-", " ").replace(" ", "").isalpha():
            return words.replace("-", " ").split()
        return [_DIGITS[unicodedata.digit(digit)] for digit in digits]


def _address(address: str) -> str:
    bare = re.sub(r"^https?://", "", address)
    words = {
        ".": "dot",
        "/": "slash",
        "@": "at",
        "-": "dash",
        "_": "underscore",
        "?": "question mark",
        "=": "equals",
        "#": "hash",
    }
    return re.sub(r"[./@\-_?=#]", lambda match: f" {words[match[0]]} ", bare).replace("www", "w w w")


def _decade(match: re.Match[str]) -> str:
    century = {"19": "nineteen ", "20": "twenty "}.get(
        match[0].lstrip("'’")[:2] if len(match[0].lstrip("'’")) > 4 else "", ""
    )
    return century + _DECADES[match[1]]

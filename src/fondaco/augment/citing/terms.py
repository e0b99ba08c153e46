"""What a text says that another can be held against: its words, its numbers, its names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fondaco.augment.words import EVERYDAY, content_words
from fondaco.content import Sealed

# No part of a name, as in CO2 or 7bfc28.
_NUMBER = re.compile(
    r"(?<![A-Za-z\d_])(?:\d{1,3}(?:[,\u00a0\u2009\u202f]\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)(?![A-Za-z]*\d)(?:st|nd|rd|th|s)?"
)
_IDENTIFIER = re.compile(r"\b(?=[\da-f]*[a-f])(?=[\da-f]*\d)[\da-f]{7,40}\b")
"""Hexadecimal, such as what was found is fenced by: models repeat it."""
_DIGITS = re.compile(r"[\d.,\u00a0\u2009\u202f]*\d")
_THOUSANDS = re.compile(r"[,\u00a0\u2009\u202f](?=\d{3}(?!\d))")
_LATER_WORD = re.compile(r"(?<=[\w,;:)'’”-][ ])[\"'“‘(]?([^\W\d_][\w'’.-]*)")
_CAPITALS = re.compile(r"\b\w*[A-Z]\w*[A-Z]\w*")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]")
_BEGINS = re.compile(r"[^\w]*([^\W\d_]\w*)")
_LABEL = re.compile(r"\W*(?:\*\*[^*]{1,80}\*\*|[^:]{1,40}:(?=\s))")
"""What an item of a list is about, often with capitals throughout."""
_SPELLED = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20",
}  # fmt: skip
_SAID_OF_SOURCES = """
    according answer article based describe described document given information mention mentioned page passage provided
    question report reported result search source state stated text web website
    dr mr mrs ms prof
"""
_EMPTY = EVERYDAY | frozenset(_SAID_OF_SOURCES.split())
"""Words that say nothing themselves: everyday ones, those for speaking of sources, and forms of address."""
_SAME = 5
"""Letters by which words are the same: founded, founder, foundation."""


class Terms(Sealed):
    words: frozenset[str]
    """All but numbers; names among them."""
    numbers: frozenset[str]
    """In digits: 1,932 and 1932 are one, and so are 4.50 and 4.5."""
    spelled: frozenset[str]
    """Numbers in letters, as digits."""
    names: frozenset[str]
    """Words with a capital that they do not owe to the beginning of a sentence."""
    first: frozenset[str]
    """The word that the text begins with, if it has a capital: it may be a name."""


def terms(text: str) -> Terms:
    text = _IDENTIFIER.sub(" ", text)
    numbers = frozenset(
        _plain(found[0]) for number in _NUMBER.findall(text) if (found := _DIGITS.match(number))
    )
    bare = _NUMBER.sub(" ", text)
    said = [word for word in content_words(bare) if word not in _EMPTY]
    begins = _BEGINS.match(bare)
    return Terms(
        words=frozenset(_keys(word for word in said if word not in _SPELLED)),
        numbers=numbers,
        spelled=frozenset(_SPELLED[word] for word in said if word in _SPELLED),
        names=_names(_later_names(bare)),
        first=_names(begins[1]) if begins and begins[1][0].isupper() else frozenset(),
    )


def _later_names(text: str) -> str:
    """Those that do not begin the sentence, or a label before it."""
    label = _LABEL.match(text)
    start = label.end() if label else 0
    words = [word for word in _LATER_WORD.findall(text, start) if word[0].isupper()]
    return " ".join(words + _CAPITALS.findall(text, start))


def _names(text: str) -> frozenset[str]:
    return frozenset(_keys(word for word in content_words(text) if word not in _EMPTY))


def _keys(words: Iterable[str]) -> Iterator[str]:
    """What words are compared by; runs of characters that have no spaces between words, by two at a time."""
    for word in words:
        if _UNSPACED.match(word):
            yield from (word[at : at + 2] for at in range(max(1, len(word) - 1)))
        else:
            yield _key(word)


def _key(word: str) -> str:
    return word[:_SAME] if word.isascii() and word.isalpha() else word


def _plain(number: str) -> str:
    whole, _, part = _THOUSANDS.sub("", number).replace(",", ".").partition(".")
    part = part.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{part}" if part else whole

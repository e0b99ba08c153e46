"""Word error rate, with numbers compared as numbers: `$350` and `three hundred and fifty dollars` are the same."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SMALL = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fifth": 5,
    "eighth": 8,
    "ninth": 9,
    "twelfth": 12,
    "twentieth": 20,
    "thirtieth": 30,
}
_SAME = {"doctor": "dr", "mister": "mr", "okay": "ok", "percent": "%"}
_VALUES = {word: value for value, word in enumerate(_SMALL)} | {
    word: 20 + 10 * at for at, word in enumerate(_TENS)
}
_AND = -1
"""An `and` after a number, which belongs to it if that goes on."""

_WORD = re.compile(r"\$?\d+(?:[.:]\d+)*(?:st|nd|rd|th)?|%|[^\W\d_]+(?:'[^\W\d_]+)?")


def words(text: str) -> list[str]:
    """What is compared: lower case, no punctuation, and what is said of numbers in a row as one number in figures."""
    plain: list[str] = []
    number: list[int] = []
    # Thousands may be parted.
    for word in _WORD.findall(re.sub(r"(?<=\d),(?=\d{3})", "", text.lower()).replace("’", "'")):
        value = _value(word)
        if value is not None:
            number.append(value)
        elif number and word in ("hundred", "thousand"):
            number[-1] *= 100 if word == "hundred" else 1000
        elif number and word == "and":
            number.append(_AND)
        else:
            plain += _figures(number)
            number = []
            figures = re.sub(r"[^\d]", "", word)
            plain.append(figures or _SAME.get(word, word))
            plain += ["dollars"] if word.startswith("$") else []
    return plain + _figures(number)


def error_rate(said: Sequence[str], heard: Sequence[str]) -> tuple[int, int]:
    """Errors (words replaced, left out or put in) and how many words were said, over pairs of texts."""
    pairs = [(words(one), words(other)) for one, other in zip(said, heard, strict=True)]
    return sum(_distance(one, other) for one, other in pairs), sum(len(one) for one, _ in pairs)


def _value(word: str) -> int | None:
    if word in _VALUES:
        return _VALUES[word]
    if word in _ORDINALS:
        return _ORDINALS[word]
    if word.endswith("th") and word[:-2] in _VALUES:
        return _VALUES[word[:-2]]
    figures = re.fullmatch(r"(\d+)(?:st|nd|rd|th)?", word)
    return int(figures[1]) if figures else None


def _figures(number: Sequence[int]) -> list[str]:
    """Values said one after the other: added up where that makes a number, else side by side as in a year."""
    made: list[int] = []
    for value in number:
        if value == _AND:
            continue
        if made and 0 < value < _step(made[-1]):
            made[-1] += value
        else:
            made.append(value)
    figures = "".join(map(str, made))
    return [*([figures] if figures else []), *(["and"] if number and number[-1] == _AND else [])]


def _step(value: int) -> int:
    """Below what a further value still belongs to this one: to `forty` all below ten, to `two thousand` below 1000."""
    for step in (1000, 100, 10):
        if value >= step and value % step == 0 and (step > 10 or value >= 20):
            return step
    return 0


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    row = list(range(len(other) + 1))
    for at, word in enumerate(one, 1):
        before, row[0] = row[0], at
        for place, heard in enumerate(other, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (word != heard)),
            )
    return row[-1]

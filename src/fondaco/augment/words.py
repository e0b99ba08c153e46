"""The words of a text that carry what it is about: without case, accents, endings, and what every text has."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")
_MARKS = re.compile(r"[\u0300-\u036f]")

_EVERYDAY = """
    a about above after again all also am an and any are as at be because been before being below between both but by
    can could did do does doing down during each few for from further get give had has have having he her here hers him
    his how i if in into is it its itself just know let like ll me more most much must my no nor not now of off on once
    one only or other our ours out over own please re same say says she should so some such tell than that the their
    theirs them then there these they this those through to too under until up use used using ve very was we were what
    when where which while who whom why will with would you your yours
"""
EVERYDAY = frozenset(_EVERYDAY.split())
"""English only: in another language everyday words count too, and weigh little because every text has them."""


def content_words(text: str) -> list[str]:
    """In the order of the text, with repeats. A text of nothing but everyday words gives these."""
    words = _WORD.findall(_MARKS.sub("", unicodedata.normalize("NFKD", text.lower())))
    kept = [_stem(word) for word in words if word not in EVERYDAY and (len(word) > 1 or not word.isascii())]
    return kept or [_stem(word) for word in words]


def overlap(wanted: frozenset[str] | set[str], found: frozenset[str] | set[str]) -> float:
    """Which part of the wanted words is there, from 0 to 1."""
    return len(wanted & found) / len(wanted) if wanted else 0.0


def _stem(word: str) -> str:
    """Singular for plural, in English; others keep their endings."""
    if len(word) > 3 and word.endswith("s") and word[-2] not in "us":
        if word.endswith("ies") and len(word) > 4:
            return word[:-3] + "y"
        return word[:-1]
    return word

"""English words and how they are said, in Kokoro's symbols.

The dictionaries are those that the model was trained with. What they lack is made from what they hold: plurals,
possessives, `-ed`, `-ing`, and abbreviations letter by letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

Entry = str | Mapping[str, str | None]
"""A pronunciation, or one for each part of speech beside `DEFAULT`."""

PRIMARY, SECONDARY = "ˈ", "ˌ"
VOWELS = frozenset("AIOQWYaiuæɑɒɔəɛɜɪʊʌᵻᵊɐ")
_FLAPPED_AFTER = frozenset("AIOWYiuæɑəɛɪɹʊʌ")
"""Sounds after which an American t between vowels is a tap."""

_LONGEST_ABBREVIATION = 5


class Lexicon:
    def __init__(self, words: Mapping[str, Entry], *, british: bool) -> None:
        self._words = words
        self._british = british

    def word(self, word: str, part: str = "DEFAULT") -> str | None:
        """How `word` is said as that part of speech; None if nothing here says. Apostrophes are straight."""
        said = self._known(word, part)
        if said is None and word != word.lower():
            said = self._known(word.lower(), part)
        if said is None:
            return self.letters(word) if _abbreviates(word) else None
        if word.isupper() and len(word) > 1:
            return _emphasised(said)
        return said if word.islower() else _stressed(said)

    def letters(self, word: str) -> str | None:
        """`word` letter by letter, the last one stressed."""
        names = [self._entry(letter.upper(), "DEFAULT") for letter in word if letter.isalpha()]
        said = "".join(name for name in names if name is not None)
        if not said or None in names:
            return None
        before, _, last = said.replace(SECONDARY, "").rpartition(PRIMARY)
        return f"{before.replace(PRIMARY, SECONDARY)}{PRIMARY}{last}"

    def _entry(self, word: str, part: str) -> str | None:
        entry = self._words.get(word)
        if entry is None:
            # Only one of a word's two spellings is listed.
            entry = (
                self._words.get(word.capitalize() if word.islower() else word.lower())
                if len(word) > 1
                else None
            )
        if entry is None or isinstance(entry, str):
            return entry
        parent = "VERB" if part.startswith("VB") else part
        return next((entry[key] for key in (part, parent, "DEFAULT") if key in entry), None)

    def _known(self, word: str, part: str) -> str | None:
        if (said := self._entry(word, part)) is not None:
            return said
        if word.endswith("'"):
            return self._known(word[:-1], part)
        for ending, join in (("'s", self._s), ("s", self._s), ("ed", self._ed), ("ing", self._ing)):
            if word.endswith(ending) and len(word) > len(ending) + 1:
                for stem in _stems(word, ending):
                    if (said := self._entry(stem, part)) is not None:
                        return join(said)
        return None

    def _weak(self) -> str:
        return "ɪ" if self._british else "ᵻ"

    def _s(self, stem: str) -> str:
        if stem[-1] in "ptkfθ":
            return f"{stem}s"
        return f"{stem}{self._weak()}z" if stem[-1] in "szʃʒʧʤ" else f"{stem}z"

    def _ed(self, stem: str) -> str:
        if stem[-1] in "pkfθʃsʧ":
            return f"{stem}t"
        if stem[-1] not in "td":
            return f"{stem}d"
        return f"{self._tapped(stem)}{self._weak()}d"

    def _ing(self, stem: str) -> str:
        return f"{self._tapped(stem)}ɪŋ"

    def _tapped(self, stem: str) -> str:
        tapped = not self._british and stem[-1] == "t" and stem[-2:-1] in _FLAPPED_AFTER
        return f"{stem[:-1]}ɾ" if tapped else stem


@cache
def dictionaries(path: Path) -> tuple[Lexicon, Lexicon]:
    """American and British English.

    The file holds four JSON objects one after the other: the checked and the derived words of British English, then of
    American. Raises ValueError when it does not.
    """
    text, at = path.read_text("utf-8"), 0
    decoder, objects = json.JSONDecoder(), list[dict[str, Entry]]()
    while at < len(text):
        words, at = decoder.raw_decode(text, at)
        objects.append(words)
        at += len(text[at : at + 2]) - len(text[at : at + 2].lstrip())
    british, british_derived, american, american_derived = objects
    return (
        Lexicon({**american_derived, **american}, british=False),
        Lexicon({**british_derived, **british}, british=True),
    )


def _stems(word: str, ending: str) -> list[str]:
    """What `word` may be made of, the likeliest first."""
    stem = word[: -len(ending)]
    if ending == "'s":
        return [stem]
    if ending == "s":
        return (
            []
            if stem.endswith("s")
            else [stem, *_if(stem.endswith("e"), stem[:-1]), *_if(stem.endswith("ie"), stem[:-2] + "y")]
        )
    doubled = re.search(r"([bdgklmnprstvz])\1$", stem)
    return [
        f"{stem}e",
        stem,
        *_if(doubled is not None, stem[:-1]),
        *_if(ending == "ed" and stem.endswith("i"), stem[:-1] + "y"),
    ]


def _if(holds: bool, stem: str) -> list[str]:
    return [stem] if holds else []


def _abbreviates(word: str) -> bool:
    """Whether it is to be read by its letters: short capitals, or what has no vowel to say."""
    return word.isalpha() and (
        (word.isupper() and len(word) <= _LONGEST_ABBREVIATION)
        or not re.search(r"[aeiouyáéíóúäöüàèøå]", word.lower())
    )


def _stressed(said: str) -> str:
    """With a weak stress if it has none, as names and the first words of sentences do."""
    return said if PRIMARY in said or SECONDARY in said else _before_vowel(said, SECONDARY)


def _emphasised(said: str) -> str:
    if PRIMARY in said:
        return said
    return said.replace(SECONDARY, PRIMARY) if SECONDARY in said else _before_vowel(said, PRIMARY)


def _before_vowel(said: str, mark: str) -> str:
    at = next((at for at, symbol in enumerate(said) if symbol in VOWELS), None)
    return said if at is None else f"{said[:at]}{mark}{said[at:]}"

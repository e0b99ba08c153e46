"""English, American and British."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from fondaco.engines.speech.g2p.lexicon import VOWELS, Lexicon, dictionaries
from fondaco.engines.speech.g2p.unknown_words import UnknownWords
from fondaco.engines.speech.g2p.written import Written

_PIECE = re.compile(
    r"(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*['’]?)|(?P<digits>\d+)|(?P<mark>\.{3}|[;:,.!?—–…“”()])|\S"
)
_HUMPS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

_MARKS = {"...": "…", "–": " —", "—": " —", "“": " “", "(": " ("}
"""Marks that are not themselves; the space before what follows them comes with it."""

_WORD = re.compile(r"\S+")
_MODALS = frozenset(
    _WORD.findall(
        "to will would can could shall should may might must do does did don't doesn't didn't won't can't cannot "
        "couldn't wouldn't shouldn't let's please not i you we they who i'll you'll we'll they'll i'd you'd we'd "
        "they'd never always also"
    )
)
_PARTICIPLE_AFTER = frozenset(
    _WORD.findall(
        "have has had having i've you've we've they've was were been be being is are am it's he's she's get got gets"
    )
)
_NOUN_AFTER = frozenset(
    _WORD.findall(
        "a an the this that these those my your his her its our their no some any each every another of in for with "
        "by on into from at"
    )
)
_THIRD_PERSON = frozenset(["he", "she", "it"])
_OBJECTS = frozenset(
    _WORD.findall("the a an my your his her its our their this that these those it them him me us in")
)


class English:
    """Either kind of English, from one set of dictionaries."""

    def __init__(self, lexicon: Lexicon, unknown: UnknownWords, written: Written, *, british: bool) -> None:
        self._lexicon = lexicon
        self._unknown = unknown
        self._written = written
        self._british = british

    def phonemes(self, text: str) -> str:
        pieces = list(_pieces(self._written.spoken(text)))
        words = [piece.lower() if kind == "word" else "" for kind, piece in pieces]
        said = list[str]()
        following: bool | None = None  # whether the next sound is a vowel; None before a pause
        for at in range(len(pieces) - 1, -1, -1):
            kind, piece = pieces[at]
            if kind == "mark":
                said.append(_MARKS.get(piece, piece))
                following = following if piece in "“”()" else None
                continue
            if kind == "digits":
                phonemes = " ".join(self._word(word, "", "", False) for word in self._written.number(piece))
            else:
                before = words[at - 1] if at else ""
                after = words[at + 1] if at + 1 < len(words) else ""
                phonemes = self._word(piece.replace("’", "'"), before, after, following)
            if phonemes:
                said.append(f" {phonemes}")
                following = next((symbol in VOWELS for symbol in phonemes if symbol not in "ˈˌ"), None)
        joined = re.sub(r"(?<=[“(]) ", "", "".join(reversed(said)))
        # In the symbols that this version of the model was trained with.
        return joined.replace("ɾ", "T").replace("ʔ", "t").strip()

    def _word(self, word: str, before: str, after: str, following: bool | None) -> str:
        if weak := _weak(word, before, after, following):
            return weak
        part = _part(before, word.lower(), after)
        if part == "DEFAULT" and following is None:
            part = "None"
        return self._lexicon.word(word, part) or self._plain(_without_accents(word), part)

    def _plain(self, word: str, part: str) -> str:
        """A word that is not in the dictionaries as it stands."""
        if said := self._lexicon.word(word, part):
            return said
        stem, owner, _ = word.partition("'s")
        if owner and (said := self._plain(stem, part)):
            return f"{said}{'s' if said[-1] in 'ptkfθ' else 'z'}"
        humps = _HUMPS.findall(word)
        if len(humps) > 1:
            return "".join(self._plain(hump, "DEFAULT") for hump in humps)
        letters = "".join(letter for letter in word if letter.isascii() and letter.isalpha())
        return self._unknown.word(letters, british=self._british) if letters else ""


def english(words: Path, network: Path) -> tuple[English, English]:
    """American and British. Raises ImportError, OSError and ValueError."""
    american, british = dictionaries(words)
    unknown, written = UnknownWords(network), Written()
    return (
        English(american, unknown, written, british=False),
        English(british, unknown, written, british=True),
    )


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    for match in _PIECE.finditer(text):
        if match.lastgroup is not None:
            yield match.lastgroup, match[0]


def _weak(word: str, before: str, after: str, following: bool | None) -> str | None:
    """Little words, which are said by what comes after them."""
    match word.lower():
        case "a" if word == "a" or (after and not before):
            return "ɐ" if following is not None else None
        case "an":
            return "ɐn" if word != "AN" else None
        case "the":
            return "ði" if following else "ðə"
        case "to" if following is not None:
            return "tʊ" if following else "tə"
        case "in" if following is not None and word != "IN":
            return "ɪn"
        case "am" if word == "am" and following is not None:
            return "ɐm"
        case "i" if word == "I" and following is not None:
            return "ˌI"
        case _:
            return None


def _part(before: str, word: str, after: str) -> str:
    """The part of speech, as far as the words beside it tell: enough for `to record` and `a record`."""
    if word == "used":
        return "VBD" if after == "to" and before not in _PARTICIPLE_AFTER else "DEFAULT"
    if before in _MODALS:
        return "VERB"
    if before in _PARTICIPLE_AFTER:
        return "VBN"
    if before in _THIRD_PERSON:
        return "VBD"
    if before in _NOUN_AFTER:
        return "NOUN"
    return "VERB" if after in _OBJECTS else "DEFAULT"


def _without_accents(word: str) -> str:
    decomposed = unicodedata.normalize("NFKD", word)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return plain.translate(
        {ord("ß"): "ss", ord("æ"): "ae", ord("ø"): "o", ord("ł"): "l", ord("đ"): "d", ord("œ"): "oe"}
    )

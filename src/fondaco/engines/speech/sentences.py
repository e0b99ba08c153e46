"""Text into what the model speaks at once: a sentence, a few short ones together, or a part of a very long one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from fondaco.content import Sealed
from fondaco.engines.speech.g2p.written import LONGEST
from fondaco.engines.speech.kokoro import MAX_PHONEMES

TOGETHER = 120
"""Short sentences are spoken together up to so many phonemes: alone they sound hurried."""

FIRST = 160
"""The first piece is at most so long where there is a clause to end it at, so that a listener hears something soon."""

FIRST_ALONE = 25
"""A first sentence of so many phonemes waits for no other."""

_LONGEST_SENTENCE = 4 * LONGEST

_CLAUSE_END = re.compile(r"(?<=[;:,.!?—…)”])\s")
_ENDS = frozenset(";:,.!?—…)”")
_PARAGRAPH = re.compile(r"\n\s*\n|\n\s*(?=[-*•–]|\d+[.)])")

SENTENCE_PAUSE, CLAUSE_PAUSE, PARAGRAPH_PAUSE = 0.28, 0.12, 0.6
"""Seconds of silence after a piece."""


class Piece(Sealed):
    phonemes: str
    """1 to MAX_PHONEMES."""
    end: int
    """Characters of the text up to its end."""
    pause: float
    """Seconds of silence that belong after it."""


def pieces(text: str, language: str, phonemes: Callable[[str], str]) -> Iterator[Piece]:
    """What to speak of `text`, in order; nothing where nothing can be spoken. The last piece ends with the text."""
    held: Piece | None = None
    together = FIRST_ALONE
    for piece in _spoken(text, language, phonemes):
        if held is None:
            held = piece
        elif (
            held.pause == SENTENCE_PAUSE
            and len(held.phonemes) < together
            and len(held.phonemes) + len(piece.phonemes) < TOGETHER
        ):
            held = Piece(f"{held.phonemes} {piece.phonemes}", piece.end, piece.pause)
        else:
            yield held
            held, together = piece, TOGETHER
    if held is not None:
        yield replace(held, end=len(text), pause=0)


def _spoken(text: str, language: str, phonemes: Callable[[str], str]) -> Iterator[Piece]:
    end, first = 0, True
    for sentence in _sentences(text, language):
        start, end = end, end + len(sentence)
        said = phonemes(sentence)
        if not said:
            continue
        if said[-1] not in _ENDS:
            said += "."  # a title or an item of a list, which ends as a sentence does
        pause = PARAGRAPH_PAUSE if _ends_paragraph(sentence) else SENTENCE_PAUSE
        parts = list(_parts(said, first=first))
        first = False
        spoken = 0
        for part in parts[:-1]:
            spoken += len(part)
            yield Piece(
                part,
                start + len(sentence) * spoken // len(said),
                CLAUSE_PAUSE if part[-1] in _ENDS else 0,
            )
        yield Piece(parts[-1], end, pause)


def _sentences(text: str, language: str) -> Iterator[str]:
    """Together they are `text`."""
    segment: Any = importlib.import_module("sentencex").segment
    held = ""
    for paragraph in _keeping(_PARAGRAPH, text):
        for sentence in segment(language.partition("-")[0], paragraph):
            # Blank lines stay with the sentence before.
            if held.strip() and sentence.strip():
                yield from _shorter(held)
                held = ""
            held += sentence
    yield from _shorter(held)


def _keeping(boundary: re.Pattern[str], text: str) -> Iterator[str]:
    start = 0
    for match in boundary.finditer(text):
        yield text[start : match.end()]
        start = match.end()
    yield text[start:]


def _ends_paragraph(sentence: str) -> bool:
    """Whether a blank line follows it."""
    return sentence.count("\n", len(sentence.rstrip())) > 1


def _shorter(sentence: str) -> Iterator[str]:
    """A sentence that is as long as none in earnest is cut at spaces, or anywhere."""
    while len(sentence) > _LONGEST_SENTENCE:
        at = sentence.rfind(" ", 1, _LONGEST_SENTENCE) + 1 or _LONGEST_SENTENCE
        yield sentence[:at]
        sentence = sentence[at:]
    yield sentence


def _parts(phonemes: str, *, first: bool) -> Iterator[str]:
    """At most MAX_PHONEMES each: cut after a clause, else between words, else anywhere."""
    limit = FIRST if first else MAX_PHONEMES
    while len(phonemes) > limit:
        at = max((match.start() for match in _CLAUSE_END.finditer(phonemes, limit // 4, limit)), default=0)
        if not at:
            if limit < MAX_PHONEMES:
                limit = MAX_PHONEMES
                continue
            at = phonemes.rfind(" ", 1, limit)
            at = at if at > 0 else limit
        yield phonemes[:at].strip()
        phonemes = phonemes[at:].strip()
        limit = MAX_PHONEMES
    if phonemes:
        yield phonemes

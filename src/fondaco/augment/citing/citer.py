"""An answer on its way out, with marks that can be trusted.

A sentence is held until it is whole. A mark stays where its source holds the sentence; it gives way to the source that
does where that is another, and goes where there is none. A sentence without a mark gets one by the same rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fondaco.augment.citing import marks
from fondaco.augment.citing.assertion import asserts
from fondaco.augment.citing.cutting import Cutter, Kind, Piece
from fondaco.augment.citing.evidence import Evidence, Held, continues, strength
from fondaco.augment.citing.marks import Marked

_HOLDS_BY_WORDS = 0.65
_HOLDS = 0.55
"""Strength from which a source holds a sentence: by words alone, and by words and meaning together."""
_HOLDS_INCOMPLETE = 0.8
"""The same where it lacks a name."""
_TRUST = 0.07
"""So much less is enough where the model itself names the source."""
_CLEARLY = 0.8
"""Words of which a source has so many, and all names, stands beside the best one."""
_NEAR = 0.1
"""Strengths that differ by less are the same."""
_FEW = 3
"""Words and numbers of a sentence that is too short to tell sources apart which all hold it."""
_MOST_CLAUSES = 4

_CLAUSE = re.compile(r"[;；]\s*|[,，]\s+(?:and|but|while|whereas)\s+|\s(?:while|whereas)\s")
_CELL = re.compile(r"(?<!\\)\|")


class Citer:
    """One for each choice of the answer."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._cutter = Cutter()
        self._about = ""
        """The last sentence that named what it is about."""

    async def feed(self, text: str) -> str:
        """What may go out now that this piece of the answer came, checked; "" while a sentence is held."""
        return "".join([await self._checked(piece) for piece in self._cutter.feed(text)])

    async def end(self) -> str:
        """The answer is over: all that is left, checked."""
        return "".join([await self._checked(piece) for piece in self._cutter.end()])

    async def _checked(self, piece: Piece) -> str:
        match piece.kind:
            case Kind.UNTOUCHED:
                return piece.text
            case Kind.ROW:
                return await self._row(piece.text)
            case Kind.FRAGMENT:
                return marks.read(piece.text).bare
            case Kind.SENTENCE:
                marked = marks.read(piece.text)
                return marks.placed(marked, await self._sources_of(marked))

    async def _sources_of(self, marked: Marked) -> list[int]:
        sentence = marked.bare
        if not continues(sentence):
            self._about = sentence
        if not self._evidence.count or not asserts(sentence):
            return []
        held = await self._evidence.held(sentence, self._about)
        holding = [each for each in held if _holds(each, claimed=each.number in marked.claims)]
        return _chosen(holding, marked.claims) if holding else await self._together(sentence)

    async def _together(self, sentence: str) -> list[int]:
        """The sources of a sentence of a few clauses that have one each."""
        clauses = [clause for clause in _CLAUSE.split(sentence) if asserts(clause)]
        if not 2 <= len(clauses) <= _MOST_CLAUSES:
            return []
        numbers: list[int] = []
        about = self._about
        for clause in clauses:
            about = about if continues(clause) else clause
            holding = [each for each in await self._evidence.held_by_words(clause, about) if _holds(each)]
            if not holding:
                return []
            numbers.append(holding[0].number)
        return numbers

    async def _row(self, text: str) -> str:
        """A mark in a table, or a heading, stays if its source holds what its cell says beside the row's first one."""
        first, *cells = _CELL.split(text)
        told = [await self._cell(first, "")]
        label = ""
        for cell in cells:
            told.append(await self._cell(cell, label))
            label = label or cell
        return "|".join(told)

    async def _cell(self, text: str, label: str) -> str:
        marked = marks.read(text)
        if not marked.claims:
            return text
        said = f"{marks.read(label).bare.strip()} {marked.bare.strip()}".strip()
        holding = await self._evidence.held(said) if self._evidence.count else []
        return marks.kept(text, [each.number for each in holding if _holds(each)])


def _holds(held: Held, *, claimed: bool = False) -> bool:
    needed = _HOLDS_BY_WORDS if held.meaning is None else _HOLDS
    if not held.complete:
        needed = _HOLDS_INCOMPLETE
    elif claimed:
        needed -= _TRUST
    return strength(held) >= needed


def _chosen(holding: Sequence[Held], claims: Sequence[int]) -> list[int]:
    """Of those that hold a sentence, the likeliest first, the ones to name."""
    best = holding[0]
    near = [each for each in holding if strength(best) - strength(each) < _NEAR]
    if claimed := [each.number for each in near if each.number in claims]:
        return claimed
    if best.terms < _FEW and len(near) > 1:
        return []
    second = [each.number for each in near[1:2] if each.complete and each.words >= _CLEARLY]
    return [best.number, *second]

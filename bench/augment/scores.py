"""How right yes-or-no answers are: what was found of what should be, and what of the found should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    hits: int = 0
    needless: int = 0
    missed: int = 0
    left: int = 0
    """Rightly answered no."""

    def __add__(self, other: Score) -> Score:
        return Score(
            self.hits + other.hits,
            self.needless + other.needless,
            self.missed + other.missed,
            self.left + other.left,
        )

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.3f}, recall {self.recall:.3f}, F1 {self.f1:.3f} "
            f"({self.hits} found, {self.needless} needless, {self.missed} missed, {self.left} rightly left)"
        )

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.needless) if self.hits else 0.0

    @property
    def recall(self) -> float:
        return self.hits / (self.hits + self.missed) if self.hits else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (2 * self.hits + self.needless + self.missed) if self.hits else 0.0


def score(wanted: Sequence[bool], found: Sequence[bool]) -> Score:
    pairs = list(zip(wanted, found, strict=True))
    return Score(
        *(pairs.count(pair) for pair in ((True, True), (False, True), (True, False), (False, False)))
    )

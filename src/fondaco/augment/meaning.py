"""Texts as vectors: how they are asked for, and how two of them are compared. Plain Python; a search needs hundreds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import sqrt
from operator import mul
from typing import Protocol, TypeAlias

if sys.version_info >= (3, 12):
    from math import sumprod as _sumprod
else:

    def _sumprod(one: Vector, other: Vector) -> float:
        return sum(map(mul, one, other))


Vector: TypeAlias = Sequence[float]


class Embedder(Protocol):
    """Whoever turns texts into vectors. Vectors of different models cannot be compared."""

    @property
    def model(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector] | None:
        """One vector each; None where there is no model to be had now. Raises nothing."""
        ...


def unit(vector: Vector) -> list[float]:
    """Of length 1, so that the cosine is a mere product."""
    length = sqrt(sum(map(mul, vector, vector))) or 1.0
    return [value / length for value in vector]


def product(one: Vector, other: Vector) -> float:
    """0 for vectors of different lengths, which are of different models."""
    return _sumprod(one, other) if len(one) == len(other) else 0.0


def code(vector: Vector) -> int:
    """The signs of a vector: two that differ in few of them likely mean the same, and to count these is quick."""
    return int("".join("1" if value > 0 else "0" for value in vector) or "0", 2)

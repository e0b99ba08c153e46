"""One line of a bill: so many units of something at a price."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from fondaco.money import NanoUsd

Currency: TypeAlias = Literal["USD", "DIEM", "BUNDLED_CREDITS"]


class Line(msgspec.Struct, frozen=True, gc=False):
    """`units` of `sku` at `price` nano-dollars for each `per` of them.

    Units are whole: tokens, characters, pictures, milliseconds. `per` is what the published price is for: 1,000,000
    tokens or characters, 1 picture, 1,000 milliseconds.
    """

    sku: str
    units: int
    price: NanoUsd
    per: int

    @property
    def amount(self) -> NanoUsd:
        """What the line costs, rounded half-even; a bill's sum is the sum of its lines."""
        whole, rest = divmod(self.price * self.units, self.per)
        if rest:
            twice = 2 * rest
            if twice > self.per or (twice == self.per and whole % 2):
                whole += 1
        return NanoUsd(whole)


Bill: TypeAlias = tuple[Line, ...]


def total(bill: Iterable[Line]) -> NanoUsd:
    return NanoUsd(sum(line.amount for line in bill))

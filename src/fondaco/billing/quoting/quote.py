"""A quote, and what can be asked for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from fondaco.billing.line import Bill, total
from fondaco.money import NanoUsd

Shape = TypeVar("Shape")


class Quote(msgspec.Struct, frozen=True):
    """`lines` are what the request will cost by its most likely use, `ceiling` is the most that it can cost."""

    lines: Bill
    ceiling: NanoUsd

    @property
    def amount(self) -> NanoUsd:
        return total(self.lines)


def fixed(bill: Bill) -> Quote:
    """The quote of what has one price, whatever happens."""
    return Quote(bill, total(bill))


class Quotable(msgspec.Struct, Generic[Shape], frozen=True):
    """An endpoint whose requests have a price."""

    endpoint: str
    """Its path under the API's base."""
    shape: type[Shape]
    """What a request's body is read as, as far as its price needs it."""
    quote: Callable[[Shape], Quote]
    """Raises ModelNotFound, and InvalidRequest with paths from the body's root."""

"""Money is an integer of nano-dollars (10⁻⁹ USD). No float ever holds an amount."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import NewType

NanoUsd = NewType("NanoUsd", int)

NANO = 1_000_000_000


def from_decimal(amount: str | Decimal) -> NanoUsd:
    """Dollars as decimal text (`"0.55"`) to nano-dollars, rounded half-even."""
    return NanoUsd(int((Decimal(amount) * NANO).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)))


def to_json(amount: int) -> bytes:
    """Nano-dollars as the digits of a JSON number, exact: 420_000 is `0.00042`."""
    sign, amount = (b"-", -amount) if amount < 0 else (b"", amount)
    whole, rest = divmod(amount, NANO)
    if not rest:
        return b"%s%d" % (sign, whole)
    return b"%s%d.%s" % (sign, whole, (b"%09d" % rest).rstrip(b"0"))

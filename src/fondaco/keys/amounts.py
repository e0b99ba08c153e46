"""Amounts of money between JSON numbers and nano-dollars; no float comes between them."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Raw

from fondaco import money
from fondaco.errors import Issue, PathPart
from fondaco.money import NanoUsd

MOST: Final = 9_999_999_999
"""The largest limit in dollars, as the contract has it."""

LARGEST: Final = NanoUsd(9_223_372_036 * money.NANO)
"""The largest that is kept, since nano-dollars are 64 bits wide: a higher limit is kept as this one."""

Amount: TypeAlias = Annotated[
    Raw,
    Meta(
        description="Dollars, or null for no limit. Parts of a nano-dollar are rounded half-even.",
        extra_json_schema={"type": ["number", "null"], "minimum": 0, "maximum": MOST},
    ),
]
"""A JSON number as its digits, or null."""

NULL: Final = Raw(b"null")

_LONGEST = 400  # digits; a double has no more
_number = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_KINDS = {b"{": "object", b"[": "array", b'"': "string", b"t": "boolean", b"f": "boolean"}
_nano = Decimal("1e-9")
_exactly = Context(prec=_LONGEST, rounding=ROUND_HALF_EVEN)


def read(raw: Raw, *path: PathPart) -> NanoUsd | Issue | None:
    """The amount, None for null, or what is wrong with it."""
    digits = bytes(raw).strip()
    if digits == b"null":
        return None
    if (kind := _KINDS.get(digits[:1])) is not None:
        return Issue(code="invalid_type", path=path, message=f"Expected number, received {kind}")
    if len(digits) > _LONGEST or _number.fullmatch(digits) is None:
        return Issue(code="too_big", path=path, message="Number is out of range")
    amount = Decimal(digits.decode())
    if amount < 0:
        return Issue(code="too_small", path=path, message="Number must be greater than or equal to 0")
    if amount > MOST:
        return Issue(code="too_big", path=path, message=f"Number must be less than or equal to {MOST}")
    return kept(amount)


def kept(amount: Decimal) -> NanoUsd:
    """An amount from 0 to MOST in whole nano-dollars, rounded half-even, LARGEST at most."""
    # Rounded here and only here: `from_decimal` multiplies within 28 digits.
    return min(LARGEST, money.from_decimal(amount.quantize(_nano, context=_exactly)))


def written(amount: int | None) -> Raw:
    """The amount as a JSON number, or null."""
    return NULL if amount is None else Raw(money.to_json(amount))


def four_decimals(amount: NanoUsd) -> str:
    """`10.2424`: how the contract tells what was spent. Rounded half-even."""
    return str(Decimal(amount).scaleb(-9).quantize(Decimal("1e-4"), rounding=ROUND_HALF_EVEN))

"""Walls: what may be spent at most. An account's funds in one currency, or a key's limit in one currency and window."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fondaco.billing import epochs
from fondaco.billing.epochs import Window
from fondaco.billing.line import Currency
from fondaco.keys.caller import SpendLimits

LARGEST: Final = 2**62
"""Nano-dollars that one wall can hold: sums of two still fit a column. A limit beyond it is as good as this."""

LimitCurrency = Literal["USD", "DIEM"]
"""What a key's limits are in. Bundled credits count as dollars."""

ORDER: Final[tuple[Currency, ...]] = ("DIEM", "BUNDLED_CREDITS", "USD")
"""In which order an account's currencies are spent."""

FUNDS_OF_DAY: Final[Currency] = "DIEM"
"""The currency whose funds are granted each day anew, and lapse with it."""


class Wall(msgspec.Struct, frozen=True):
    """Which wall it is, and all that is needed to build it on first need."""

    id: str
    kind: Literal["funds", "key"]
    owner: str
    account_id: str
    currency: Currency
    window: Window
    limit: int = 0
    """Of a key, as its caller has it; the key's row goes before it."""


def funds(account_id: str, currency: Currency, second: int) -> Wall:
    """An account's money in `currency` at that Unix second."""
    window = epochs.day(second) if currency == FUNDS_OF_DAY else epochs.ALWAYS
    return Wall(
        id=f"funds:{account_id}:{currency}:{window.start}",
        kind="funds",
        owner=account_id,
        account_id=account_id,
        currency=currency,
        window=window,
    )


def of_key(
    key_id: str, account_id: str, currency: LimitCurrency, limits: SpendLimits | None, second: int
) -> Wall | None:
    """A key's limit in `currency` at that Unix second; None if it has none."""
    limit = limit_of(limits, currency)
    if limits is None or limit is None:
        return None
    window = epochs.window(limits.period, second)
    return Wall(
        id=f"key:{key_id}:{currency}:{window.start}",
        kind="key",
        owner=key_id,
        account_id=account_id,
        currency=currency,
        window=window,
        limit=limit,
    )


def limit_of(limits: SpendLimits | None, currency: LimitCurrency) -> int | None:
    if limits is None:
        return None
    limit = limits.diem if currency == "DIEM" else limits.usd
    return None if limit is None else min(limit, LARGEST)


def counts_as(currency: Currency) -> LimitCurrency:
    """Which of a key's limits a charge in `currency` counts against."""
    return "DIEM" if currency == "DIEM" else "USD"


def counted_in(currency: LimitCurrency) -> tuple[Currency, ...]:
    """What counts against a key's limit in `currency`."""
    return ("DIEM",) if currency == "DIEM" else ("USD", "BUNDLED_CREDITS")

"""Windows, cut bills and remembered balances: the parts of the ledger that need no database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fondaco.billing import epochs
from fondaco.billing.balances import Balances, KnownBalances
from fondaco.billing.settling import cut
from fondaco.keys.caller import Period
from fondaco.money import NanoUsd
from ledgers import MovedClock


def second(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("period", "at", "start", "until"),
    [
        ("EPOCH", (2026, 3, 15, 23, 59, 59), (2026, 3, 15), (2026, 3, 16)),
        ("EPOCH", (2026, 3, 16), (2026, 3, 16), (2026, 3, 17)),
        ("MONTH", (2026, 12, 31, 23, 59, 59), (2026, 12, 1), (2027, 1, 1)),
        ("MONTH", (2028, 2, 29), (2028, 2, 1), (2028, 3, 1)),
    ],
)
def test_a_window_begins_and_ends_at_midnight_utc(
    period: Period, at: tuple[int, ...], start: tuple[int, ...], until: tuple[int, ...]
) -> None:
    window = epochs.window(period, second(*at))
    assert window == (second(*start) * 1000, second(*until))
    assert (window.first_day, window.end_day) == (second(*start) // 86_400, second(*until) // 86_400)


def test_a_lifetime_has_one_window() -> None:
    assert epochs.window("LIFETIME", 0) == epochs.window("LIFETIME", second(2999, 1, 1))


@given(st.lists(st.integers(0, 10**12), min_size=1), st.integers(0, 10**13))
def test_a_bill_is_cut_from_its_end_and_to_the_last_nano(amounts: list[int], most: int) -> None:
    left = cut(amounts, most)
    assert sum(left) == min(sum(amounts), most)
    lowered = [n for n, (before, after) in enumerate(zip(amounts, left, strict=True)) if after < before]
    if lowered:
        assert all(after == 0 for after in left[lowered[0] + 1 :])


def test_known_diem_is_the_days_allowance_again_after_midnight() -> None:
    known = KnownBalances(clock := MovedClock())
    assert known.get("acc") is None
    today = epochs.day(clock.unix()).until
    known.keep({"acc": Balances(NanoUsd(10), NanoUsd(7), NanoUsd(3), NanoUsd(9))})
    known.spend("acc", "DIEM", 5, today)
    known.spend("acc", "USD", 1, epochs.ALWAYS.until)
    known.spend("acc", "BUNDLED_CREDITS", 1, epochs.ALWAYS.until)
    assert known.get("acc") == Balances(NanoUsd(9), NanoUsd(2), NanoUsd(2), NanoUsd(9))
    clock.move(days=1)
    found = known.get("acc")
    assert found is not None
    assert found.diem == 9
    known.spend("acc", "DIEM", 5, today)
    assert known.get("acc") == found, "it was held of yesterday's"


def test_accounts_that_nobody_asked_for_are_forgotten() -> None:
    known = KnownBalances(MovedClock())
    known.keep({"a": Balances(), "b": Balances()})
    assert list(known.used()) == ["a", "b"]
    known.get("b")
    assert list(known.used()) == ["b"]

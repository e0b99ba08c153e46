"""Stretches of time that money is counted in: UTC days, UTC months, and always."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from fondaco.keys.caller import Period

DAY_SECONDS: Final = 86_400


class Window(NamedTuple):
    """From `start`, Unix milliseconds, to before `until`, Unix seconds."""

    start: int
    until: int

    @property
    def first_day(self) -> int:
        """Days since 1970."""
        return self.start // (DAY_SECONDS * 1000)

    @property
    def end_day(self) -> int:
        """The first day that is not in it any more."""
        return self.until // DAY_SECONDS


ALWAYS: Final = Window(0, 2**40)


def day(second: int) -> Window:
    """The UTC day that holds this Unix second: DIEM's epoch."""
    start = second - second % DAY_SECONDS
    return Window(start * 1000, start + DAY_SECONDS)


def month(second: int) -> Window:
    """The UTC month that holds this Unix second."""
    return _month_of_day(second // DAY_SECONDS)


def window(period: Period, second: int) -> Window:
    """The window of that period which holds this Unix second."""
    if period == "EPOCH":
        return day(second)
    return month(second) if period == "MONTH" else ALWAYS


@lru_cache(maxsize=64)
def _month_of_day(number: int) -> Window:
    day_in_it = datetime.fromtimestamp(number * DAY_SECONDS, UTC)
    first = day_in_it.replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Window(int(first.timestamp()) * 1000, int(after.timestamp()))

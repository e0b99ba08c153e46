"""Dates in queries: what is meant, or which field makes no sense."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from fondaco.errors import InvalidRequest
from fondaco.store.schema import EPOCH

DAY_MS = 86_400_000

_MS = timedelta(milliseconds=1)
_FIRST_DAY = EPOCH.date().toordinal()
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-][01]\d:[0-5]\d)?", re.ASCII
)
_UTC_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?Z", re.ASCII)


def start_of(text: str, field: str) -> int:
    """The first millisecond of a day or a time in ISO 8601, in Unix milliseconds; UTC where no zone is named.

    Raises InvalidRequest, as all of these do.
    """
    return _instant(text, field)


def end_of(text: str, field: str) -> int:
    """The first millisecond after a day or a time in ISO 8601."""
    return _instant(text, field) + (DAY_MS if _DATE.fullmatch(text) else 1)


def utc(text: str, field: str) -> int:
    """A time in ISO 8601 that ends in `Z`."""
    if not _UTC_TIME.fullmatch(text):
        raise _no_date(field, "Invalid datetime: ISO 8601 in UTC, such as 2026-06-01T00:00:00Z")
    return _instant(text, field)


def day_of(text: str, field: str) -> int:
    """`YYYY-MM-DD` as days since 1970."""
    if not _DATE.fullmatch(text):
        raise _no_date(field, "Invalid date: YYYY-MM-DD")
    return _instant(text, field) // DAY_MS


def day_now(now: datetime) -> int:
    return now.astimezone(UTC).toordinal() - _FIRST_DAY


def day_text(day: int) -> str:
    return date.fromordinal(day + _FIRST_DAY).isoformat()


def month_of(day: int) -> int:
    """The first day of the month in which `day` is."""
    return date.fromordinal(day + _FIRST_DAY).replace(day=1).toordinal() - _FIRST_DAY


def in_order(start: int | None, end: int | None, field: str, other: str) -> None:
    """Raises InvalidRequest at `field` unless it is after `other`."""
    if start is not None and end is not None and end <= start:
        raise _no_date(field, f"{field} must be after {other}")


def _instant(text: str, field: str) -> int:
    try:
        if _DATE.fullmatch(text):
            moment = datetime.combine(date.fromisoformat(text), time(tzinfo=UTC))
        elif _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        else:
            raise ValueError
        return (moment - EPOCH) // _MS
    except (ValueError, OverflowError):
        raise _no_date(field, "Invalid datetime: ISO 8601, such as 2026-06-01T00:00:00Z") from None


def _no_date(field: str, message: str) -> InvalidRequest:
    return InvalidRequest.at(field, message=message, code="invalid_date")

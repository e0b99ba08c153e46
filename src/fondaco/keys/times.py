"""Times as the contract of API keys writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fondaco.errors import InvalidRequest

PATTERN = r"^$|^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z)?$"
_form = re.compile(PATTERN)


def read(text: str, field: str = "expiresAt") -> datetime | None:
    """`YYYY-MM-DD` (that day's first moment) or `YYYY-MM-DDTHH:mm:ss(.sss)Z`, both UTC; None for empty text.

    Raises InvalidRequest for a day or an hour that there is not.
    """
    if not text:
        return None
    if _form.fullmatch(text) is not None:
        try:
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        except ValueError:
            pass
    raise InvalidRequest.at(field, code="invalid_date", message="Invalid date")


def written(at: datetime) -> str:
    """`2026-12-31T23:59:59.000Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"

"""Which fields a log line may carry: a declared name, and a value that cannot be prose.

Content leaks through logs because a line takes any name and any value. Ours takes the names in this file; a value is
a number, an enum's member or a short identifier. To log a new fact, declare its name here, where a reviewer sees it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

Field = int | float | bool | str | Enum | None
"""What may be given to a log call; which of it is let through, the name decides."""

DROPPED: Final = "<dropped>"

NUMBERS: Final = frozenset(
    {
        "active",
        "attempt",
        "attempts",
        "available_bytes",
        "batch",
        "bytes",
        "cached_tokens",
        "chunks",
        "completion_tokens",
        "connections",
        "context_tokens",
        "count",
        "delay_seconds",
        "done",
        "elapsed_seconds",
        "errno",
        "exit_code",
        "exit_status",
        "expected_bytes",
        "failures",
        "idle_seconds",
        "line",
        "lines",
        "limit",
        "memory_bytes",
        "memory_mib",
        "models",
        "n",
        "nano_usd",
        "part",
        "parts",
        "percent",
        "pid",
        "port",
        "prompt_tokens",
        "queued",
        "ready",
        "received_bytes",
        "restarts",
        "retry_after",
        "retry_seconds",
        "revision",
        "rows",
        "running",
        "seconds",
        "signal",
        "slots",
        "status",
        "threads",
        "timeout_seconds",
        "tokens",
        "total",
        "total_bytes",
    }
)
"""Names whose value is a number, a bool or None."""

NAMES: Final = frozenset(
    {
        "ability",
        "backend",
        "code",
        "engine",
        "error",
        "how",
        "kind",
        "level",
        "logger",
        "method",
        "mode",
        "model",
        "package",
        "request_id",
        "route",
        "setting",
        "sha256",
        "source",
        "stage",
        "state",
        "table",
        "variable",
    }
)
"""Names whose value may also be one word. `model` is an id of ours or of the catalogue, never what a caller sent."""

PHRASES: Final = frozenset(
    {
        "address",
        "at",
        "cause",
        "directory",
        "file",
        "host",
        "path",
        "platform",
        "python",
        "reason",
        "socket",
        "version",
    }
)
"""Names whose value may hold spaces: places, and reasons out of our own fixed words. `path` is a route's template."""

DECLARED: Final = NUMBERS | NAMES | PHRASES

_WORD = re.compile(r"[\w.:/@+-]{0,200}", re.ASCII)
_PHRASE = re.compile(r"[\w.:/@+ -]{0,200}", re.ASCII)
_EVENT = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+")
_LARGEST = 2**63  # an integer can carry bytes; one that fits a column cannot carry many


class LeakRefused(Exception):
    """A log call held something that a log must not hold. Names the field, never the value."""

    def __init__(self, field: str) -> None:
        super().__init__(f"refused in a log line: {field}")


def is_word(text: str) -> bool:
    """True for up to 200 characters of an identifier, an address or a path, without spaces."""
    return _WORD.fullmatch(text) is not None


def allowed(name: str, value: object) -> int | float | str | None:
    """`value` as it may be written under `name`. Raises LeakRefused."""
    if name not in DECLARED:
        raise LeakRefused(name if is_word(name) else "a field with no declared name")
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, Enum):
        value = value.name
    if isinstance(value, int):
        if -_LARGEST < value < _LARGEST:
            return int(value)
        raise LeakRefused(name)
    if name not in NUMBERS and isinstance(value, str):
        text = str.__str__(value)  # a subclass may print more than it is
        if (_WORD if name in NAMES else _PHRASE).fullmatch(text):
            return text
    raise LeakRefused(name)


def scrub(
    event: object, fields: Mapping[str, object], *, strict: bool
) -> tuple[str, dict[str, int | float | str | None]]:
    """The event's name and its fields, cleaned.

    What must not be written raises LeakRefused if `strict`, and becomes `<dropped>` if not.
    """
    kept: dict[str, int | float | str | None] = {}
    for name, value in fields.items():
        try:
            kept[name] = allowed(name, value)
        except LeakRefused:
            if strict:
                raise
            # A name that nobody declared was perhaps computed from content too.
            kept[name if is_word(name) else DROPPED] = DROPPED
    if isinstance(event, str) and _EVENT.fullmatch(event) and len(event) <= 80:
        return str.__str__(event), kept
    if strict:
        raise LeakRefused("an event's name that is not dotted lower-case words")
    return DROPPED, kept

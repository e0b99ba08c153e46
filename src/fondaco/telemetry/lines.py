"""How a log line looks: plain text for a terminal, one JSON object a line for everything else."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from fondaco.telemetry.fields import is_word

Write = Callable[[bytes], None]
"""Takes whole lines, ends with them written or given up."""

Render = Callable[[str, str, Mapping[str, object]], str]
"""Level, event and clean fields to one line with its newline."""

_STDERR: Final = 2


def write_stderr(lines: bytes) -> None:
    """One write() for whole lines, so that those of several processes do not mix. A closed stderr is no failure."""
    view = memoryview(lines)
    with contextlib.suppress(OSError):
        while view:
            view = view[os.write(_STDERR, view) :]


def form(wanted: Literal["auto", "text", "json"]) -> Literal["text", "json"]:
    """`auto` resolved: text if stderr is a terminal."""
    if wanted != "auto":
        return wanted
    return "text" if sys.stderr.isatty() else "json"


def stamp(seconds: float) -> str:
    """Wall time as `2026-01-29T17:23:22.123Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_text(level: str, event: str, fields: Mapping[str, object]) -> str:
    told = " ".join(f"{name}={_plain(value)}" for name, value in fields.items())
    return f"{stamp(time.time())} {level:<7} {event}{' ' if told else ''}{told}\n"


def as_json(level: str, event: str, fields: Mapping[str, object]) -> str:
    return (
        msgspec.json.encode({"ts": stamp(time.time()), "level": level, "event": event, **fields}).decode()
        + "\n"
    )


def _plain(value: object) -> str:
    if isinstance(value, str) and value and is_word(value):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return msgspec.json.encode(value).decode()

"""What the gateway asks of the parsing process, and what it is told. Both are content."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fondaco.content import Sealed

Fault: TypeAlias = Literal["unsupported", "encrypted", "damaged", "too_much", "not_installed"]


class Job(Sealed, kw_only=True):
    """One document; its bytes come after it."""

    name: str = ""
    """Its file name, or its media type where it has none."""
    media_type: str = ""
    charset: str | None = None
    url: str = ""
    """Where a page was found: what in it is relative to."""
    max_characters: int
    """Where its text is cut."""


class Parsed(Sealed, kw_only=True, omit_defaults=True):
    """`text` is Markdown where the document has any form. `date` is `YYYY-MM-DD`, or empty."""

    text: str = ""
    title: str = ""
    date: str = ""
    cut: bool = False
    """There was more of it than was wanted."""
    fault: Fault | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """For one document."""

    memory_bytes: int
    """Beyond what the libraries take."""
    cpu_seconds: int
    seconds: float


def encode(message: Job | Parsed | Limits) -> bytes:
    return msgspec.msgpack.encode(message)

"""The `@@` lines at the head of a V3 lorebook entry: what of them can be obeyed where no conversation is kept.

A decorator that is unknown, has no good value, or asks for what was matched in earlier turns is ignored, and the
first good `@@@` line after it takes its place. Of one name the first counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from fondaco.content import Sealed

Role: TypeAlias = Literal["system", "user", "assistant"]
Place: TypeAlias = Literal["before_desc", "after_desc", "personality", "scenario"]

_MOST = 999_999
_PLACES = ("before_desc", "after_desc", "personality", "scenario")
_ROLES = ("system", "user", "assistant")


class Directives(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
    """What the decorators of an entry say, and its content without them."""

    content: str
    activate: bool = False
    dont_activate: bool = False
    activate_only_after: int | None = None
    """Not before the character has spoken so often."""
    activate_only_every: int | None = None
    is_greeting: int | None = None
    scan_depth: int | None = None
    additional_keys: tuple[str, ...] = ()
    exclude_keys: tuple[str, ...] = ()
    position: Place | None = None
    depth: int | None = None
    """So many turns before the conversation's end."""
    reverse_depth: int | None = None
    """So many turns after its beginning."""
    role: Role = "system"


def plain(content: str) -> bool:
    """Whether there are no decorators at all."""
    return not content.lstrip().startswith("@@")


@lru_cache(4096)
def read(content: str) -> Directives:
    """What the head of `content` says. Never fails."""
    lines = content.lstrip().splitlines()
    said: dict[str, Any] = {}
    taken = False
    at = 0
    for at, line in enumerate(lines):  # noqa: B007
        bare = line.strip()
        if not bare.startswith("@@"):
            if bare:
                break
            continue
        fallback = bare.startswith("@@@")
        if fallback and taken:
            continue
        name, _, value = bare.lstrip("@").partition(" ")
        taken = _note(said, name, value.strip())
    else:
        at = len(lines)
    return Directives(content="\n".join(lines[at:]).strip(), **said)


def _note(said: dict[str, Any], name: str, value: str) -> bool:
    """Whether it is one that is obeyed here."""
    reader = _READERS.get(name)
    found = None if reader is None else reader(value)
    if found is None:
        return False
    said.setdefault(name, found)
    return True


def _number(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and int(value) <= _MOST else None


def _positive(value: str) -> int | None:
    return _number(value) or None


def _words(value: str) -> tuple[str, ...] | None:
    return tuple(word for part in value.split(",") if (word := part.strip())) or None


def _one_of(names: tuple[str, ...]) -> Callable[[str], str | None]:
    return lambda value: value if value in names else None


_READERS: dict[str, Callable[[str], Any]] = {
    "activate": lambda _: True,
    "dont_activate": lambda _: True,
    "activate_only_after": _number,
    "activate_only_every": _positive,
    "is_greeting": _number,
    "scan_depth": _number,
    "additional_keys": _words,
    "exclude_keys": _words,
    "position": _one_of(_PLACES),
    "depth": _number,
    "reverse_depth": _number,
    "role": _one_of(_ROLES),
}

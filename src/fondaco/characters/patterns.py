"""Regular expressions from cards, which anybody may have written: searched for within a set time, or not found.

They are JavaScript's, bare or as `/…/flags`. The library `regex` reads nearly all of them and, unlike Python's own,
stops when it is told to; it is loaded with the first card that needs it.
"""

from __future__ import annotations

import re
import time
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

SECONDS = 0.05
"""For all patterns of one request together: they hold up every other."""

_LONGEST = 1000

_literal = re.compile(r"/(.+)/([a-z]*)", re.DOTALL)


class Clockwork:
    """The time that one request may spend on patterns, from the first on."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def finds(self, pattern: str, text: str, *, case_sensitive: bool) -> bool:
        """Whether it is in the text. A pattern that is none, or takes too long, is not."""
        regex = _regex()
        if self._until is None:
            self._until = time.monotonic() + self._seconds
        if time.monotonic() >= self._until:
            return False
        compiled = _compiled(regex, pattern, case_sensitive)
        left = self._until - time.monotonic()
        if compiled is None or left <= 0:
            return False
        try:
            return compiled.search(text, timeout=left) is not None
        except (TimeoutError, RecursionError, MemoryError):
            return False


@cache
def _regex() -> Any:
    return import_module("regex")


@lru_cache(8192)
def _compiled(regex: Any, pattern: str, case_sensitive: bool) -> Any:
    flags = 0 if case_sensitive else regex.IGNORECASE
    if (literal := _literal.fullmatch(pattern)) is not None:
        pattern = literal[1]
        for letter, flag in (("i", regex.IGNORECASE), ("s", regex.DOTALL), ("m", regex.MULTILINE)):
            flags |= flag if letter in literal[2] else 0
    if len(pattern) > _LONGEST:
        return None
    try:
        return regex.compile(pattern, flags)
    except (regex.error, RecursionError, OverflowError, MemoryError):
        return None

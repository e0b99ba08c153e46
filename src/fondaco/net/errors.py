"""Why a foreign URL was not fetched.

    FetchError
    ├── Refused            it is none of the URLs that are fetched, or leads to a place that is not public
    ├── Unreachable        no such name, nobody there, or the connection broke
    ├── TooSlow
    ├── TooLarge
    ├── TooManyRedirects
    └── BadAnswer          an error's status, or an encoding that was not asked for

`sentence` is for the caller. Neither it nor `str()` holds anything of the URL or of what it led to.
"""

from __future__ import annotations

from typing import ClassVar


class FetchError(Exception):
    """`reason` is a word for programs; `sentence` says it."""

    reason: str = "failed"
    default: ClassVar[str] = "it could not be fetched"

    def __init__(self, sentence: str | None = None, *, reason: str | None = None) -> None:
        super().__init__()
        self.sentence = sentence or self.default
        if reason is not None:
            self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Refused(FetchError):
    reason = "refused"
    default = "it is not fetched"


class Unreachable(FetchError):
    reason = "unreachable"
    default = "it cannot be reached"


class TooSlow(FetchError):
    reason = "too_slow"
    default = "it took too long"


class TooLarge(FetchError):
    reason = "too_large"
    default = "it is too large"


class TooManyRedirects(FetchError):
    reason = "too_many_redirects"
    default = "it redirects too often"


class BadAnswer(FetchError):
    reason = "bad_answer"
    default = "its server gave no usable answer"

    def __init__(self, sentence: str | None = None, *, status: int | None = None) -> None:
        """`status` where that was the fault."""
        super().__init__(sentence or (f"its server answered with status {status}" if status else None))
        self.status = status

"""A request's place in a rate window, and what its headers say of it."""

from __future__ import annotations

from typing import Protocol


class Admission(Protocol):
    """Limits of None are not enforced. Counts are whole; `reset_at` is in Unix milliseconds."""

    @property
    def limit_requests(self) -> int | None: ...
    @property
    def remaining_requests(self) -> int: ...
    @property
    def limit_tokens(self) -> int | None: ...
    @property
    def remaining_tokens(self) -> int: ...
    @property
    def reset_at(self) -> int: ...

    def used(self, tokens: int) -> None:
        """The truth in place of what was reserved; more than that counts in the next window. Once."""
        ...

    def give_back(self) -> None:
        """The request was refused after all: it does not count."""
        ...

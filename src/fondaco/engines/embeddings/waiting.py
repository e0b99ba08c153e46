"""Rows that wait for the model, and which of them it is to read next, together.

Requests share the model fairly, as packets share a line (weighted fair queueing): each row is due when its request,
served by itself at the pace that all have had so far, would be through with it. So a lone short text overtakes what is
left of a request with thousands, and none waits for ever. Rows that are read together are of like length, since short
ones are filled up to the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Generic, Protocol, TypeVar

RUN_TOKENS = 16
"""Tokens that could have been read in the time that a run of the model takes beside reading them."""

PADDING = 8
"""Of a batch, at most one part in so many is filling."""


class Row(Protocol):
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def wanted(self) -> bool:
        """Whether anybody still waits for it."""
        ...


R = TypeVar("R", bound=Row)


class Waiting(Generic[R]):
    def __init__(self) -> None:
        self._by_length: dict[int, list[tuple[int, int, R]]] = {}
        """Rows of each length, the first due first: `(due, number, row)`."""
        self._now = 0
        """When the row that was taken last was due."""
        self._number = 0

    def add(self, rows: Sequence[R]) -> None:
        """Rows of one request; its shortest go first."""
        due = self._now
        for row in sorted(rows, key=lambda row: len(row.ids)):
            length = len(row.ids)
            due += length
            self._number += 1
            heappush(self._by_length.setdefault(length, []), (due, self._number, row))

    def take(self, tokens: int) -> list[R]:
        """The rows to read now, of no more than `tokens` with their filling, but for one that is longer by itself.

        Empty when nobody waits.
        """
        self._forget()
        if not self._by_length:
            return []
        first = min(self._by_length, key=lambda length: self._by_length[length][0])
        self._now = self._by_length[first][0][0]
        batch: list[R] = []
        longest = first
        real = 0
        for length in sorted(self._by_length, key=lambda length: abs(length - first)):
            reach = max(longest, length)
            while rows := self._by_length[length]:
                filled = (len(batch) + 1) * reach
                if batch and (filled > tokens or filled - real - length > RUN_TOKENS + filled // PADDING):
                    break
                row = heappop(rows)[2]
                if row.wanted:
                    batch.append(row)
                    longest = reach
                    real += length
            if rows:
                break
        return batch

    def _forget(self) -> None:
        """Drop rows at the head that nobody wants any more."""
        for length in list(self._by_length):
            rows = self._by_length[length]
            while rows and not rows[0][2].wanted:
                heappop(rows)
            if not rows:
                del self._by_length[length]

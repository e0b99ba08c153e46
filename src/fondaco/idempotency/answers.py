"""Answers that a repeat may still get: in memory only, and never more of them than was allowed.

What is being recorded counts too, so that many long streams at once cannot go beyond the bound. The oldest answers
make room; one that finds no room, or is too large, is not kept.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fondaco.content import Content

Header = tuple[bytes, bytes]

LARGEST = 8 * 1024 * 1024
"""Bytes of an answer that is still kept."""

_ENTRY = 1024
"""What an answer takes beside its body: hashes, headers, objects."""
_PIECE = 64
"""What a piece takes beside its bytes while an answer is being recorded."""


class Answer(msgspec.Struct, frozen=True):
    """A finished answer as its caller got it. `streamed` says that it went out in pieces."""

    status: int
    headers: tuple[Header, ...]
    body: Content[bytes]
    streamed: bool
    compressible: bool


class Kept(msgspec.Struct, frozen=True):
    answer: Answer
    request: bytes
    """Keyed hash of the request's body."""
    expires_at: datetime
    size: int


class Answers:
    """Finished answers by the keyed hash of their `Idempotency-Key`. `most` bytes are held at any time."""

    def __init__(self, most: int) -> None:
        self.held = 0
        """Bytes held now, recordings included."""
        self._most = most
        self._kept: dict[bytes, Kept] = {}

    def recall(self, use: bytes, now: datetime) -> Kept | None:
        kept = self._kept.get(use)
        if kept is not None and kept.expires_at <= now:
            self._drop(use)
            return None
        return kept

    def keep(self, use: bytes, request: bytes, expires_at: datetime, answer: Answer) -> None:
        size = _ENTRY + len(answer.body.reveal())
        if use in self._kept:
            self._drop(use)
        if self.take(size):
            self._kept[use] = Kept(answer, request, expires_at, size)

    def expire(self, now: datetime) -> None:
        """Let go of what is no longer to be repeated."""
        for use in [use for use, kept in self._kept.items() if kept.expires_at <= now]:
            self._drop(use)

    def take(self, size: int) -> bool:
        """Count `size` bytes more as held, for which the oldest answers may have to go. False if there is no room."""
        while self.held + size > self._most and self._kept:
            self._drop(next(iter(self._kept)))
        if self.held + size > self._most:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        self.held -= size

    def _drop(self, use: bytes) -> None:
        self.held -= self._kept.pop(use).size


class Recording:
    """An answer on its way out, piece by piece. Ends with `taken` or `drop`, once."""

    __slots__ = ("_answers", "_held", "_pieces", "_size")

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._pieces: list[bytes] | None = []
        self._held = 0
        self._size = 0

    def add(self, piece: bytes) -> None:
        if self._pieces is None:
            return
        self._size += len(piece)
        held = len(piece) + _PIECE
        if self._size > LARGEST or not self._answers.take(held):
            self.drop()
            return
        self._held += held
        self._pieces.append(piece)

    def taken(self) -> Content[bytes] | None:
        """The whole, which counts as held no more; None if it was too much."""
        pieces = self._pieces
        self.drop()
        if pieces is None:
            return None
        return Content(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def drop(self) -> None:
        self._answers.give_back(self._held)
        self._held = 0
        self._pieces = None

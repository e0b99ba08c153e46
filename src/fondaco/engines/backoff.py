"""How long to leave a thing alone that keeps failing."""

from __future__ import annotations

from fondaco.clock import Clock

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0


class BackOff:
    """Half a second after the first failure, twice as long after each further one, never more than 30 s."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def left(self) -> float:
        """Seconds still to wait."""
        return max(0.0, self._until - self._clock.monotonic()) if self._failures else 0.0

    def failed(self) -> None:
        wait = min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(self._failures, 16))
        self._failures += 1
        self._until = self._clock.monotonic() + wait

    def reset(self) -> None:
        self._failures = 0

"""Abuse protection: a key whose requests fail again and again is refused for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from math import ceil
from typing import Final

from fondaco.clock import Clock
from fondaco.errors import FondacoError, MalformedForm, MalformedJson, TooManyFailures
from fondaco.keys.caller import Caller
from fondaco.limits.refusals import NO_MODEL, RefusalLog

SPAN_SECONDS: Final = 30
"""How long a failure is remembered, and how long a key is blocked."""

_MOST_KEYS = 10_000
_MOST_FAILURES = 1_000_000
_COUNTED = frozenset({400, 403, 404, 409, 422})


def counts(error: FondacoError) -> bool:
    """Whether this error, answered to a good key, is a failure that counts (CONTRACT 16, row 44)."""
    return error.status in _COUNTED and not isinstance(error, (MalformedJson, MalformedForm))


class Abuse:
    """Counts failures by key. In this process only: what several gateways allow is at most so many times as much."""

    def __init__(
        self,
        most: int,
        clock: Clock,
        refusals: RefusalLog | None = None,
        *,
        most_keys: int = _MOST_KEYS,
        most_failures: int = _MOST_FAILURES,
    ) -> None:
        """More than `most` failures in 30 s block a key for 30 s; 0 turns that off. `refusals` hears of each refusal.

        Remembered are `most_keys` keys with `most_failures` failures in all; the keys that failed longest ago go
        first.
        """
        self._most = most
        self._clock = clock
        self._refusals = refusals
        self._most_keys = most_keys
        self._most_failures = most_failures
        self._count = 0
        self._keys: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def check(self, caller: Caller) -> None:
        """Raises TooManyFailures if the caller's key is blocked."""
        failures = self._keys.get(caller.key_id)
        if failures is None or failures.blocked_until is None:
            return
        left = failures.blocked_until - self._clock.monotonic()
        if left <= 0:
            del self._keys[caller.key_id]
            return
        if self._refusals is not None:
            self._refusals.note(caller, NO_MODEL, "FAILED_REQUESTS")
        raise TooManyFailures(
            f"Too many failed attempts (> {self._most}) resulting in a non-success status code. "
            f"Please wait {SPAN_SECONDS}s and try again.",
            retry_after=max(1, ceil(left)),
        )

    def note(self, caller: Caller) -> None:
        """One failure that counts. While a key is blocked, what it began before does not."""
        if not self._most:
            return
        key_id, now = caller.key_id, self._clock.monotonic()
        failures = self._keys.get(key_id)
        if failures is None or failures.is_over(now):
            self._forget(key_id)
            self._drop(now)
            failures = self._keys[key_id] = _Failures()
        elif failures.blocked_until is not None:
            return
        self._keys.move_to_end(key_id)
        times = failures.times
        self._count += 1 - failures.forget_before(now - SPAN_SECONDS)
        times.append(now)
        if len(times) > self._most:
            self._count -= len(times)
            times.clear()
            failures.blocked_until = now + SPAN_SECONDS

    def left(self, caller: Caller) -> tuple[int, int] | None:
        """How many failures the key has left, and when they are all forgotten in Unix milliseconds.

        With none to forget, that is when one that came now would be. None where nothing is counted.
        """
        if not self._most:
            return None
        failures = self._keys.get(caller.key_id)
        if failures is None:
            return self._most, 1000 * (self._clock.unix() + SPAN_SECONDS)
        now = self._clock.monotonic()
        self._count -= failures.forget_before(now - SPAN_SECONDS)
        ends = failures.ends
        if now >= ends:
            return self._most, 1000 * (self._clock.unix() + SPAN_SECONDS)
        resets = 1000 * self._clock.unix() + ceil(1000 * (ends - now))
        return (0 if failures.blocked_until is not None else self._most - len(failures.times)), resets

    def _drop(self, now: float) -> None:
        # Two for each that comes: keys that have failed no more go sooner than others come.
        for _ in range(2):
            if not self._keys:
                return
            key_id, failures = next(iter(self._keys.items()))
            if (
                not failures.is_over(now)
                and len(self._keys) < self._most_keys
                and self._count < self._most_failures
            ):
                return
            self._forget(key_id)

    def _forget(self, key_id: str) -> None:
        if (failures := self._keys.pop(key_id, None)) is not None:
            self._count -= len(failures.times)


class _Failures:
    """Of one key: when its failures were, at most 30 s ago, or until when it is blocked. Times are monotonic."""

    __slots__ = ("blocked_until", "times")

    def __init__(self) -> None:
        self.times: deque[float] = deque()
        self.blocked_until: float | None = None

    @property
    def ends(self) -> float:
        """When all of it is forgotten."""
        if self.blocked_until is not None:
            return self.blocked_until
        return self.times[-1] + SPAN_SECONDS if self.times else float("-inf")

    def is_over(self, now: float) -> bool:
        return now >= self.ends

    def forget_before(self, time: float) -> int:
        """How many failures were before `time`; they are gone now."""
        before = len(self.times)
        while self.times and self.times[0] <= time:
            self.times.popleft()
        return before - len(self.times)

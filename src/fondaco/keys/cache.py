"""Keys that were checked lately, so that a request costs one HMAC and no SQL.

What is cached is known by its digest: the key itself is nowhere in memory once its request is over. The database
is the truth; whoever hears that it changed calls `forget`, and an answer that was read before that is not kept.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from fondaco.clock import Clock
from fondaco.errors import FondacoError
from fondaco.keys.caller import Caller

_MOST_KNOWN = 10_000
_MOST_REFUSED = 10_000
_REFUSED_SECONDS = 1.0


class Known(msgspec.Struct):
    caller: Caller
    expires_at: datetime | None
    second: int = 0
    """The Unix second in which its use was noted last: expiry and use are looked at once a second."""


class Refused(msgspec.Struct, frozen=True):
    why: type[FondacoError]
    until: float
    """On the monotonic clock."""


class KeyCache:
    def __init__(self, clock: Clock, uses: dict[str, datetime]) -> None:
        """`uses` takes the time of each use by key id."""
        self.generation = 0
        """Moves with each `forget`. Take it before asking the database, and give it back with the answer."""
        self._clock = clock
        self._uses = uses
        self._known: dict[bytes, Known] = {}
        self._refused: dict[bytes, Refused] = {}

    def recall(self, digest: bytes) -> Caller | None:
        """The caller if this key is known to be good now; its use is noted."""
        known = self._known.get(digest)
        if known is None:
            return None
        second = self._clock.unix()
        if second != known.second:
            now = self._clock.now()
            if known.expires_at is not None and now >= known.expires_at:
                del self._known[digest]
                return None
            self._uses[known.caller.key_id] = now
            known.second = second
        return known.caller

    def refusal(self, digest: bytes) -> type[FondacoError] | None:
        """Why it was refused within the last second, if it was."""
        refused = self._refused.get(digest)
        return refused.why if refused is not None and self._clock.monotonic() < refused.until else None

    def keep(self, digest: bytes, known: Known, generation: int) -> None:
        if generation == self.generation:
            _make_room(self._known, _MOST_KNOWN)
            self._known[digest] = known

    def refuse(self, digest: bytes, why: type[FondacoError], generation: int) -> None:
        if generation == self.generation:
            self._refused.pop(digest, None)  # a renewed refusal goes to the end of the row
            _make_room(self._refused, _MOST_REFUSED)
            self._refused[digest] = Refused(why, self._clock.monotonic() + _REFUSED_SECONDS)

    def forget(self) -> None:
        """Something changed: ask the database again."""
        self.generation += 1
        self._known.clear()
        self._refused.clear()


def _make_room(cache: dict[bytes, Known] | dict[bytes, Refused], most: int) -> None:
    # The one that came first goes. Reordering at each use would cost every request; a wrong guess costs one read.
    if len(cache) >= most:
        del cache[next(iter(cache))]

"""The log of requests that a limit refused: noted in memory at once, written at most once a second.

A flood of refusals costs the database a small write a second, whatever its size: of each account only the last 50
are of interest, so no more than these are kept to be written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from fondaco.clock import Clock
from fondaco.keys.caller import Caller
from fondaco.limits import store
from fondaco.limits.store import KEPT_REFUSALS, Refusal, RefusalType
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.telemetry.logs import logger

__all__ = ["API_TIER", "NO_MODEL", "Refusal", "RefusalLog"]

API_TIER: Final = "paid"
"""The tier that all accounts have."""

NO_MODEL: Final = "model:unknown"
"""In the place of a model's id, where a request was refused before its model was known."""

_EVERY_SECONDS = 1.0
_MOST_WAITING = 10_000
_MOST_IN_A_WRITE = 500

_log = logger(__name__)


class RefusalLog:
    """One a process; `close` it before its database."""

    def __init__(
        self,
        database: Store,
        clock: Clock,
        every_seconds: float = _EVERY_SECONDS,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        """At most `most_waiting` refusals wait to be written; beyond that, those of some account are forgotten."""
        self._database = database
        self._clock = clock
        self._every = every_seconds
        self._most = most_waiting
        self._waiting: dict[str, deque[Refusal]] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None

    def note(self, caller: Caller, model_id: str, kind: RefusalType) -> None:
        """`model_id` may also be `endpoint:api/v1/…` or NO_MODEL."""
        row = self._waiting.get(caller.account_id)
        if row is None or len(row) < KEPT_REFUSALS:
            if self._count >= self._most:
                self._count -= len(self._waiting.pop(next(iter(self._waiting))))
            row = self._waiting.setdefault(caller.account_id, deque(maxlen=KEPT_REFUSALS))
            self._count += 1
        at = self._clock.now()
        row.append(Refusal(caller.account_id, caller.key_id, model_id, API_TIER, kind, at))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._write_soon)

    async def last(self, account_id: str, key_id: str | None = None) -> Sequence[Refusal]:
        """The last 50 of an account, newest first, or those of them that are one key's."""
        if account_id in self._waiting:
            self._write_soon()
        if self._writing is not None:
            await asyncio.shield(self._writing)
        return await self._database.read(partial(store.refusals_of, account_id=account_id, key_id=key_id))

    async def close(self) -> None:
        """Write down the last ones."""
        self._write_soon()
        if self._writing is not None:
            await self._writing

    def _write_soon(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is None and self._waiting:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting, self._count = self._waiting, {}, 0
                await self._write_down([refusal for row in taken.values() for refusal in row])
        finally:
            self._writing = None

    async def _write_down(self, refusals: Sequence[Refusal]) -> None:
        # Several writes, so that nobody's waits behind a long one.
        for start in range(0, len(refusals), _MOST_IN_A_WRITE):
            part = refusals[start : start + _MOST_IN_A_WRITE]
            try:
                await self._database.write(partial(store.add_refusals, refusals=part))
            except StoreError as error:
                _log.warning("refusals.not_written", count=len(part), exc_info=error)

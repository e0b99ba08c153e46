"""Rate windows in the database: the truth while several gateways share it.

Each admission is then one conditional statement, which shares its commit with other writes. Rates are not money:
where the database fails, requests are admitted from memory, and what cannot be written is forgotten.
"""

from __future__ import annotations

import asyncio
from functools import partial

from sqlalchemy import Connection

from fondaco.clock import Clock
from fondaco.limits import store
from fondaco.limits.admission import WINDOW_MS, Admission, Standing, Window
from fondaco.limits.store import Correction
from fondaco.limits.tiers import Rate
from fondaco.limits.windows import Windows, unix_ms, window_of
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.telemetry.logs import logger

_log = logger(__name__)


class SharedWindows:
    """The table, and the way between it and `memory`, which counts when the gateway is alone."""

    def __init__(self, database: Store, clock: Clock, memory: Windows) -> None:
        self._database = database
        self._clock = clock
        self._memory = memory
        self._in_use = True
        self._corrections: list[Correction] = []
        self._correcting: asyncio.Task[None] | None = None
        self._dropped_at = clock.monotonic()

    async def admit(self, account_id: str, model_id: str, rate: Rate, tokens: int) -> Admission:
        """A place for a request, or a refusal. `tokens` is at most `rate.tokens`, and 0 where that is None."""
        now = unix_ms(self._clock)
        limits = rate.requests, rate.tokens or 0
        dropping = self._is_time_to_drop()

        def admit(connection: Connection) -> tuple[bool, Standing]:
            if dropping:
                store.drop_windows(connection, now)
            return store.admit(connection, (account_id, model_id), now, limits, tokens)

        try:
            admitted, standing = await self._database.write(admit)
        except StoreError as error:
            _log.warning("rates.not_shared", count=1, exc_info=error)
            return self._memory.admit(account_id, model_id, rate, tokens)
        over = (now - standing.opened_at) // WINDOW_MS
        if over > 0:
            # It is over and has not been opened anew: its debt keeps this request out until so much more is paid.
            standing = Standing(standing.opened_at + over * WINDOW_MS, rate.requests, 0)
        ends = self._clock.monotonic() + (standing.opened_at + WINDOW_MS - unix_ms(self._clock)) / 1000
        window = window_of(self, account_id, model_id, rate, standing, ends)
        if admitted:
            return Admission(window, tokens)
        return Admission(window, 0, "RPM" if window.requests_left <= 0 else "TPM")

    def correct(self, window: Window, requests: int, tokens: int) -> None:
        if not self._in_use:
            self._memory.correct(self._memory.in_place_of(window), requests, tokens)
            return
        window.requests_left -= requests
        window.tokens_left -= tokens
        self._corrections.append(Correction(window, requests, tokens))
        if self._correcting is None:
            self._correcting = asyncio.get_running_loop().create_task(self._write_corrections())

    async def publish(self) -> None:
        """Others have come: count here from now on, going on from how the windows in memory stand."""
        self._in_use = True
        windows = self._memory.hand_over(self)
        now = unix_ms(self._clock)
        try:
            await self._database.write(partial(store.publish, windows=windows, now=now))
        except StoreError as error:
            _log.warning("rates.not_shared", count=len(windows), exc_info=error)

    async def take_over(self) -> None:
        """The others have gone: count in memory from now on, going on from how the windows in the table stand."""
        await self._finish_corrections()
        now = unix_ms(self._clock)
        try:
            await self._database.write(partial(store.drop_windows, now=now))
            self._memory.adopt(await self._database.read(store.windows))
        except StoreError as error:
            _log.warning("rates.not_shared", exc_info=error)
        self._in_use = False

    async def close(self) -> None:
        """Write down the last corrections."""
        await self._finish_corrections()

    def _is_time_to_drop(self) -> bool:
        now = self._clock.monotonic()
        if (now - self._dropped_at) * 1000 < WINDOW_MS:
            return False
        self._dropped_at = now
        return True

    async def _finish_corrections(self) -> None:
        while self._correcting is not None:
            await asyncio.shield(self._correcting)

    async def _write_corrections(self) -> None:
        # What comes while one write is on its way goes with the next.
        try:
            while self._corrections:
                taken, self._corrections = self._corrections, []
                try:
                    await self._database.write(partial(store.correct, corrections=taken))
                except StoreError as error:
                    _log.warning("rates.not_shared", count=len(taken), exc_info=error)
        finally:
            self._correcting = None

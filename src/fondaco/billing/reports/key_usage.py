"""What keys have spent, as their rows in `/api_keys` show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from fondaco.billing.reports import dates, store
from fondaco.clock import Clock
from fondaco.keys.caller import Period
from fondaco.money import NanoUsd
from fondaco.store.interface import Store

_AT_ONCE = 500


class Spent(msgspec.Struct, frozen=True):
    """Nano-dollars. Bundled credits are dollars."""

    usd: NanoUsd = NanoUsd(0)
    diem: NanoUsd = NanoUsd(0)


class KeyUsage:
    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def trailing(self, key_ids: Iterable[str]) -> Mapping[str, Spent]:
        """What each of these keys has spent today and in the six days before (UTC)."""
        first = dates.day_now(self._clock.now()) - 6
        return await self._spent({first: list(key_ids)})

    async def in_period(self, keys: Mapping[str, Period]) -> Mapping[str, Spent]:
        """What each key (by id) has spent since its limits last began anew: today, this month, ever (UTC)."""
        today = dates.day_now(self._clock.now())
        begins: Mapping[Period, int | None] = {
            "EPOCH": today,
            "MONTH": dates.month_of(today),
            "LIFETIME": None,
        }
        asked: defaultdict[int | None, list[str]] = defaultdict(list)
        for key_id, period in keys.items():
            asked[begins[period]].append(key_id)
        return await self._spent(asked)

    async def _spent(self, asked: Mapping[int | None, Sequence[str]]) -> Mapping[str, Spent]:
        if not any(asked.values()):
            return {}

        def read(connection: Connection) -> list[tuple[str, str, int]]:
            return [
                row
                for first, key_ids in asked.items()
                for start in range(0, len(key_ids), _AT_ONCE)
                for row in store.spent_since(connection, key_ids[start : start + _AT_ONCE], first)
            ]

        sums: dict[str, list[int]] = {key_id: [0, 0] for key_ids in asked.values() for key_id in key_ids}
        for key_id, currency, amount in await self._database.read(read):
            sums[key_id][currency == "DIEM"] += amount
        return {key_id: Spent(NanoUsd(usd), NanoUsd(diem)) for key_id, (usd, diem) in sums.items()}

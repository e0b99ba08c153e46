"""`/billing/usage-analytics`: an account's use of some days, summed up and kept for ten minutes."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from typing import Any

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection

from fondaco.billing.reports import dates
from fondaco.billing.reports.summary import Chart, FindModel, ModelUse, Spend, Summary, summarise
from fondaco.billing.reports.wire import (
    AnalyticsAnswer,
    AnalyticsQuery,
    DateRow,
    KeyRow,
    ModelUsage,
    PartRow,
    number,
)
from fondaco.clock import Clock
from fondaco.errors import InvalidRequest, RequestTimeout
from fondaco.store.interface import Store

KEPT_SECONDS = 600
MOST_KEPT = 256
MOST_KEPT_BYTES = 16_000_000
LONGEST_LOOKBACK = 90
LONGEST_SPAN = 366
"""Days between dates that are given, so that a whole year fits."""

_LOOKBACK = re.compile(r"([1-9]\d{0,8})d", re.ASCII)


class _Asked(msgspec.Struct, frozen=True):
    account_id: str
    lookback: str
    first: int
    last: int


class Analytics:
    def __init__(
        self, database: Store, clock: Clock, find_model: FindModel, *, timeout_seconds: int = 20
    ) -> None:
        """`find_model` knows models by id, for their names and types."""
        self._database = database
        self._clock = clock
        self._find_model = find_model
        self._timeout = timeout_seconds
        self._kept: OrderedDict[_Asked, tuple[int, bytes]] = OrderedDict()
        self._kept_bytes = 0
        self._running: dict[_Asked, asyncio.Task[bytes]] = {}
        # One at a time: a long one must not take the threads that all other reads need.
        self._turn = asyncio.Semaphore(1)

    async def report(self, account_id: str, query: AnalyticsQuery) -> bytes:
        """An AnalyticsAnswer as JSON. Raises InvalidRequest for days that make no sense.

        Raises RequestTimeout if it takes too long; the sums go on being made, and the next who asks may have them.
        """
        asked = self._asked(account_id, query)
        at, made = self._kept.get(asked, (0, b""))
        if made and self._clock.monotonic() - at < KEPT_SECONDS:
            self._kept.move_to_end(asked)
            return made
        task = self._running.get(asked)
        if task is None:
            task = self._running[asked] = asyncio.create_task(self._make(asked))
            task.add_done_callback(lambda task: self._ended(asked, task))
        done, _ = await asyncio.wait({task}, timeout=self._timeout)
        if not done:
            raise RequestTimeout("Query timed out - try reducing the lookback period")
        return task.result()

    async def _make(self, asked: _Asked) -> bytes:
        def read(connection: Connection) -> bytes:
            found = summarise(connection, asked.account_id, asked.first, asked.last, self._find_model)
            return msgspec.json.encode(_answer(asked.lookback, found))

        async with self._turn:
            return await self._database.read(read)

    def _ended(self, asked: _Asked, task: asyncio.Task[bytes]) -> None:
        self._running.pop(asked, None)
        if task.cancelled() or task.exception() is not None:
            return
        self._forget(asked)
        made = task.result()
        self._kept[asked] = (int(self._clock.monotonic()), made)
        self._kept_bytes += len(made)
        while self._kept_bytes > MOST_KEPT_BYTES or len(self._kept) > MOST_KEPT:
            self._forget(next(iter(self._kept)))

    def _forget(self, asked: _Asked) -> None:
        _, made = self._kept.pop(asked, (0, b""))
        self._kept_bytes -= len(made)

    def _asked(self, account_id: str, query: AnalyticsQuery) -> _Asked:
        start, end = query.start_date, query.end_date
        if start is not None or end is not None:
            if start is None or end is None:
                field, other = ("startDate", "endDate") if start is None else ("endDate", "startDate")
                raise _refused(field, f"{field} is required with {other}")
            first, last = dates.day_of(start, "startDate"), dates.day_of(end, "endDate")
            if last < first:
                raise _refused("endDate", "endDate must not be before startDate")
            if last - first >= LONGEST_SPAN:
                raise _refused("endDate", f"endDate must be within {LONGEST_SPAN} days of startDate")
            return _Asked(account_id, f"{start}:{end}", first, last)
        lookback = query.lookback or "7d"
        found = _LOOKBACK.fullmatch(lookback)
        if found is None or int(found[1]) > LONGEST_LOOKBACK:
            raise _refused("lookback", f"Invalid lookback: 1d to {LONGEST_LOOKBACK}d")
        today = dates.day_now(self._clock.now())
        return _Asked(account_id, lookback, today - int(found[1]) + 1, today)


def _refused(field: str, message: str) -> InvalidRequest:
    return InvalidRequest.at(field, message=message)


def _answer(lookback: str, found: Summary) -> AnalyticsAnswer:
    return AnalyticsAnswer(
        lookback=lookback,
        by_date=[_date(day, spend) for day, spend in sorted(found.days.items(), reverse=True)],
        by_model=[_model(use) for use in found.models],
        by_model_daily=_daily(found.model_chart),
        top_models=found.model_chart.names,
        by_key=[
            KeyRow(
                api_key_id=use.key_id,
                description=use.description,
                total_usd=number(use.spend.usd),
                total_diem=number(use.spend.diem),
                total_units=number(use.units),
            )
            for use in found.keys
        ],
        by_key_daily=_daily(found.key_chart),
        top_key_names=found.key_chart.names,
    )


def _date(day: int, spend: Spend) -> DateRow:
    return DateRow(dates.day_text(day), number(spend.usd), number(spend.diem))


def _model(use: ModelUse) -> ModelUsage:
    parts = [
        PartRow(part.name, number(part.spend.usd), number(part.spend.diem), number(part.units))
        for part in use.parts
    ]
    return ModelUsage(
        model_name=use.name,
        unit_type=use.unit,
        model_type=use.type,
        total_usd=number(use.spend.usd),
        total_diem=number(use.spend.diem),
        total_units=number(use.units),
        breakdown=parts if len(parts) > 1 else UNSET,
    )


def _daily(chart: Chart) -> list[dict[str, Any]]:
    """Oldest day first, for a chart; `date` is the day's first millisecond."""
    return [
        {"date": day * dates.DAY_MS, **{name: number(amount) for name, amount in amounts.items()}}
        for day, amounts in sorted(chart.days.items())
    ]

"""A ledger for tests of reports: rows as the ledger writes them, put there by hand."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, update

from fondaco.billing.line import Line
from fondaco.clock import Clock
from fondaco.money import NanoUsd
from fondaco.store.schema import EPOCH, accounts, api_keys, transfers, usage_days
from fondaco.store.sqlite import Database

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
MODEL = "qwen3-4b"


class StoppedClock(Clock):
    def __init__(self, at: datetime = NOON) -> None:
        self.at = at
        self.run = 1000.0

    def now(self) -> datetime:
        return self.at

    def unix(self) -> int:
        return int(self.at.timestamp())

    def monotonic(self) -> float:
        return self.run

    def forward(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.run += seconds


class Books:
    """Accounts, keys and what they used."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def account(self, name: str) -> str:
        made = str(uuid.uuid4())
        await self._insert(accounts, [{"id": made, "name": name, "created_at": NOON}])
        return made

    async def key(self, account_id: str, description: str) -> str:
        made = str(uuid.uuid4())
        row: dict[str, Any] = {
            "id": made,
            "account_id": account_id,
            "kind": "INFERENCE",
            "description": description,
            "key_hash": uuid.uuid4().bytes * 2,
            "last6": made[-6:],
            "created_at": NOON,
        }
        await self._insert(api_keys, [row])
        return made

    async def use(
        self,
        account_id: str,
        *lines: Line,
        at: datetime = NOON,
        key: str = "",
        model: str = MODEL,
        currency: str = "USD",
        book: str = "tab",
        request: str | None = "chatcmpl-1",
        note: str = "API Inference",
        tokens: tuple[int | None, int | None] = (None, None),
        ms: int | None = None,
    ) -> None:
        """A request with so many lines, and its days."""
        rows = [
            used_row(
                account_id,
                line,
                at=at,
                key_id=key,
                model_id=model,
                currency=currency,
                debit=book,
                request_id=request,
                note=note,
                prompt_tokens=tokens[0],
                completion_tokens=tokens[1],
                execution_ms=ms,
            )
            for line in lines
        ]
        await self._insert(transfers, rows)
        day = (at - EPOCH).days
        for line in lines:
            await self._add_day(account_id, day, key, model, currency, line)

    async def move(
        self,
        account_id: str,
        kind: str,
        amount: int,
        *,
        at: datetime = NOON,
        currency: str = "USD",
        note: str = "By hand",
    ) -> None:
        """Money that comes in from outside, or goes there."""
        out = kind in ("debit", "lapse")
        debit, credit = ("funds", "outside") if out else ("outside", "funds")
        row = {
            "at": at,
            "account_id": account_id,
            "kind": kind,
            "debit": debit,
            "credit": credit,
            "currency": currency,
            "amount": amount,
            "note": note,
        }
        await self._insert(transfers, [row])

    async def fill(self, rows: Iterable[Mapping[str, Any]]) -> None:
        await self._insert(transfers, list(rows))

    async def _insert(self, table: Any, rows: list[Any]) -> None:
        def work(connection: Connection) -> None:
            connection.execute(insert(table), rows)

        await self.database.write(work)

    async def _add_day(
        self, account_id: str, day: int, key: str, model: str, currency: str, line: Line
    ) -> None:
        which = {
            "account_id": account_id,
            "day": day,
            "key_id": key,
            "model_id": model,
            "sku": line.sku,
            "currency": currency,
        }

        def work(connection: Connection) -> None:
            days = usage_days.c
            same = [days[name] == value for name, value in which.items()]
            if connection.execute(select(days.day).where(*same)).one_or_none() is None:
                first = {"amount": line.amount, "units": line.units, "per": line.per, "requests": 1}
                connection.execute(insert(usage_days).values(**which, **first))
                return
            sums = {"amount": days.amount + line.amount, "units": days.units + line.units}
            connection.execute(update(usage_days).where(*same).values(**sums, requests=days.requests + 1))

        await self.database.write(work)


def used_row(account_id: str, line: Line, **more: Any) -> dict[str, Any]:
    """A row of `transfers` for one line of a bill."""
    return {
        "at": NOON,
        "account_id": account_id,
        "kind": "usage",
        "debit": "tab",
        "credit": "sales",
        "currency": "USD",
        "amount": line.amount,
        "note": "API Inference",
        "sku": line.sku,
        "price": line.price,
        "units": line.units,
        "per": line.per,
        **more,
    }


def asked(tokens: int, model: str = MODEL, price: int = 50_000_000) -> Line:
    """So many prompt tokens, at $0.05 a million."""
    return Line(f"{model}-llm-input-mtoken", tokens, NanoUsd(price), 1_000_000)


def answered(tokens: int, model: str = MODEL, price: int = 150_000_000) -> Line:
    """So many completion tokens, at $0.15 a million."""
    return Line(f"{model}-llm-output-mtoken", tokens, NanoUsd(price), 1_000_000)


@asynccontextmanager
async def books(data_dir: Path) -> AsyncGenerator[Books, None]:
    database = Database(data_dir)
    await database.open()
    try:
        yield Books(database)
    finally:
        await database.close()

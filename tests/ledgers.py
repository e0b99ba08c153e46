"""Ledgers over real databases, for tests of money."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from fondaco.billing.audit import audit
from fondaco.billing.charge import Charge
from fondaco.billing.ledger import Ledger
from fondaco.billing.line import Bill, Line
from fondaco.billing.use import Use
from fondaco.keys.caller import Caller, SpendLimits
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd
from fondaco.store.interface import Store
from fondaco.store.presence import Presence
from fondaco.store.schema import accounts, api_keys, transfers, walls
from fondaco.store.sqlite import Database

CENT = 10_000_000
DOLLAR = 100 * CENT
NOON = datetime(2026, 3, 15, 12, tzinfo=UTC)
ACCOUNT = "acc"
USE = Use(prompt_tokens=3, completion_tokens=4, execution_ms=5)


class MovedClock:
    """Stands still until it is moved."""

    def __init__(self, now: datetime = NOON) -> None:
        self.at = now

    def now(self) -> datetime:
        return self.at

    def unix(self) -> int:
        return int(self.at.timestamp())

    def monotonic(self) -> float:
        return self.at.timestamp()

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


class House:
    """One process's part: database, presence and ledger."""

    def __init__(
        self, data_dir: Path, clock: MovedClock, *, database: Store | None = None, **options: Any
    ) -> None:
        self.clock = clock
        self.database: Store = database or Database(data_dir)
        self.presence = Presence(self.database, clock, notice_seconds=0)
        self.ledger = Ledger(self.database, clock, self.presence, **({"prepaid": False} | options))

    async def open(self) -> None:
        await self.database.open()
        await self.presence.open()
        await self.ledger.open()

    async def close(self) -> None:
        await self.ledger.close()
        await self.presence.close()
        await self.database.close()

    def charge(self, caller: Caller, request_id: str = "r") -> Charge:
        return self.ledger.charge(Ticket(caller, request_id), "model")

    async def faults(self) -> list[str]:
        return await self.database.read(audit)

    async def wall(self, start: str) -> dict[str, int]:
        """The parts of the wall whose id begins so; all zero if there is none."""
        return await self.database.read(lambda connection: parts(connection, start))

    async def rows(self, kind: str = "usage") -> list[Any]:
        asked = select(transfers).where(transfers.c.kind == kind).order_by(transfers.c.id)
        return await self.database.read(lambda connection: list(connection.execute(asked)))

    async def charged(self) -> int:
        return sum(row.amount for row in await self.rows())


@contextlib.asynccontextmanager
async def house(data_dir: Path, clock: MovedClock | None = None, **options: Any) -> AsyncIterator[House]:
    made = House(data_dir, clock or MovedClock(), **options)
    await made.open()
    try:
        await made.database.write(ensure_account)
        yield made
    finally:
        await made.close()


def ensure_account(connection: Connection) -> None:
    if not connection.scalar(select(func.count()).select_from(accounts).where(accounts.c.id == ACCOUNT)):
        connection.execute(insert(accounts).values(id=ACCOUNT, name=ACCOUNT, created_at=NOON))


async def a_key(
    database: Store, key_id: str = "key", limits: SpendLimits | None = None, account_id: str = ACCOUNT
) -> Caller:
    """A key that is in the database, and its caller."""

    def add(connection: Connection) -> None:
        ensure_account(connection)
        connection.execute(
            insert(api_keys).values(
                id=key_id,
                account_id=account_id,
                kind="INFERENCE",
                description="",
                key_hash=key_id.encode(),
                last6="123456",
                created_at=NOON,
                limit_usd=limits and limits.usd,
                limit_diem=limits and limits.diem,
                limit_period=limits.period if limits else "EPOCH",
            )
        )

    await database.write(add)
    return Caller(key_id=key_id, account_id=account_id, kind="INFERENCE", limits=limits)


def bill(*amounts: int) -> Bill:
    """One line for each amount, in nano-dollars."""
    return tuple(Line(f"sku-{n}", 1, NanoUsd(amount), 1) for n, amount in enumerate(amounts))


def parts(connection: Connection, start: str) -> dict[str, int]:
    row = connection.execute(select(walls).where(walls.c.id.startswith(start))).one_or_none()
    names = ("allowed", "free", "leased", "spent", "excess")
    return {name: 0 if row is None else getattr(row, name) for name in names}

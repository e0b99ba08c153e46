"""Parts that tests of limits share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, insert, select

from fondaco.keys.caller import Caller
from fondaco.limits.ticket import Ticket
from fondaco.store.schema import accounts
from fondaco.store.sqlite import Database

START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
START_MS = int(START.timestamp()) * 1000 + 250


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def unix(self) -> int:
        return int(self.now().timestamp())

    def monotonic(self) -> float:
        return 1000 + self.passed


class Company:
    """Says that there are other gateways, or none, as a test wishes."""

    def __init__(self, alone: bool = True) -> None:
        self.alone = alone
        self._callbacks: list[Callable[[], None]] = []

    def on_company(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def comes(self) -> None:
        self.alone = False
        for callback in self._callbacks:
            callback()


def caller(key: str = "key", account: str = "account") -> Caller:
    return Caller(key_id=key, account_id=account, kind="INFERENCE")


def ticket(key: str = "key", account: str = "account") -> Ticket:
    return Ticket(caller(key, account), "request")


async def opened(data_dir: Path, *account_ids: str) -> Database:
    """A database with these accounts, which are made where they are missing."""
    database = Database(data_dir)
    await database.open()

    def add(connection: Connection) -> None:
        there = set(connection.scalars(select(accounts.c.id)))
        for account_id in account_ids:
            if account_id not in there:
                connection.execute(insert(accounts).values(id=account_id, name=account_id, created_at=START))

    await database.write(add)
    return database

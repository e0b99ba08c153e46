"""The SQL of accounts. Each function is, or is part of, one unit of work of the store."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from fondaco.store.schema import accounts


class Account(msgspec.Struct, frozen=True):
    id: str
    name: str
    created_at: datetime
    suspended: bool


def by_id(connection: Connection, account_id: str) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return None if row is None else _account(row)


def by_name(connection: Connection, name: str) -> Account | None:
    row = connection.execute(select(accounts).where(accounts.c.name == name)).one_or_none()
    return None if row is None else _account(row)


def everyone(connection: Connection) -> list[Account]:
    """All accounts, oldest first."""
    query = select(accounts).order_by(accounts.c.created_at, accounts.c.name)
    return [_account(row) for row in connection.execute(query)]


def add(connection: Connection, account: Account) -> None:
    connection.execute(insert(accounts).values(msgspec.structs.asdict(account)))


def set_suspended(connection: Connection, account_id: str, suspended: bool) -> bool:
    """False if there is no such account."""
    change = update(accounts).where(accounts.c.id == account_id).values(suspended=suspended)
    return connection.execute(change).rowcount == 1


def _account(row: Row[Any]) -> Account:
    return Account(id=row.id, name=row.name, created_at=row.created_at, suspended=row.suspended)

"""The SQL of API keys. Each function is, or is part of, one unit of work of the store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from fondaco.keys.caller import ModelPrivacy, Period, SpendLimits
from fondaco.keys.tokens import Kind
from fondaco.store.schema import accounts, api_keys


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told of a key. The key itself is not among it: nobody has it but its owner."""

    id: str
    account_id: str
    kind: Kind
    description: str
    last6: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    model_privacy: ModelPrivacy = "ALL"
    limit_usd: int | None = None
    limit_diem: int | None = None
    limit_vcu: int | None = None
    limit_period: Period = "EPOCH"

    @property
    def limits(self) -> SpendLimits | None:
        """None for a key that may spend without limit."""
        if self.limit_usd is None and self.limit_diem is None and self.limit_vcu is None:
            return None
        return SpendLimits(self.limit_period, self.limit_usd, self.limit_diem, self.limit_vcu)


_FIELDS = [api_keys.c[name] for name in KeyRecord.__struct_fields__]

_CHANGEABLE = (
    "description",
    "expires_at",
    "model_privacy",
    "limit_usd",
    "limit_diem",
    "limit_vcu",
    "limit_period",
)

_BY_HASH = (
    select(*_FIELDS, accounts.c.suspended)
    .join(accounts, accounts.c.id == api_keys.c.account_id)
    .where(api_keys.c.key_hash == bindparam("hash"))
)

_NOTE_USE = (
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key"),
        or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("used")),
    )
    .values(last_used_at=bindparam("used"))
)


def by_hash(connection: Connection, key_hash: bytes) -> tuple[KeyRecord, bool] | None:
    """The key and whether its account is suspended."""
    row = connection.execute(_BY_HASH, {"hash": key_hash}).one_or_none()
    return None if row is None else (_record(row), row.suspended)


def by_id(connection: Connection, key_id: str) -> KeyRecord | None:
    row = connection.execute(select(*_FIELDS).where(api_keys.c.id == key_id)).one_or_none()
    return None if row is None else _record(row)


def by_last6(connection: Connection, last6: str) -> list[KeyRecord]:
    """Unrevoked keys that end so."""
    query = select(*_FIELDS).where(api_keys.c.last6 == last6, api_keys.c.revoked_at.is_(None))
    return _records(connection, query)


def usable_one(connection: Connection, now: datetime, account_id: str, key_id: str) -> KeyRecord | None:
    """This key, if it is this account's and neither revoked nor expired."""
    query = select(*_FIELDS).where(
        api_keys.c.id == key_id, api_keys.c.account_id == account_id, _is_usable(now)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def usable(connection: Connection, now: datetime, account_id: str | None) -> list[KeyRecord]:
    """Keys that are neither revoked nor expired, newest first, of one account or of all."""
    query = select(*_FIELDS).where(_is_usable(now))
    if account_id is not None:
        query = query.where(api_keys.c.account_id == account_id)
    return _records(connection, query.order_by(api_keys.c.created_at.desc(), api_keys.c.id))


def count_usable(connection: Connection, now: datetime, account_id: str) -> int:
    query = select(func.count()).where(api_keys.c.account_id == account_id, _is_usable(now))
    return connection.scalar(query) or 0


def any_at_all(connection: Connection) -> bool:
    return bool(connection.scalar(select(exists(select(api_keys.c.id)))))


def add(connection: Connection, record: KeyRecord, key_hash: bytes) -> None:
    values = {name: getattr(record, name) for name in KeyRecord.__struct_fields__}
    connection.execute(insert(api_keys).values(**values, key_hash=key_hash))


def replace(connection: Connection, record: KeyRecord) -> None:
    """Write what of a key may be changed as it stands in `record`."""
    values = {name: getattr(record, name) for name in _CHANGEABLE}
    connection.execute(update(api_keys).where(api_keys.c.id == record.id).values(**values))


def set_revoked(connection: Connection, key_id: str, at: datetime) -> None:
    """A key that is revoked already keeps its first time."""
    connection.execute(
        update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=at)
    )


def note_use(connection: Connection, used: Mapping[str, datetime]) -> None:
    """Move `last_used_at` of these keys forward; never back, where another process saw a later use."""
    connection.execute(_NOTE_USE, [{"key": key_id, "used": at} for key_id, at in used.items()])


def _is_usable(now: datetime) -> ColumnElement[bool]:
    return and_(
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now),
    )


def _records(connection: Connection, query: Select[Any]) -> list[KeyRecord]:
    return [_record(row) for row in connection.execute(query)]


def _record(row: Row[Any]) -> KeyRecord:
    # The columns of `_FIELDS` stand first, in the order of the struct's own.
    return KeyRecord(**dict(zip(KeyRecord.__struct_fields__, row, strict=False)))

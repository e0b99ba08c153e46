"""The SQL of characters. Each function is, or is part of, one unit of work of the store."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import BigInteger, Connection, delete, func, insert, select, type_coerce, update

from fondaco.content import Sealed
from fondaco.store.schema import characters


class Record(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
    """A row without its picture."""

    slug: str
    id: str
    created_at: datetime
    updated_at: datetime
    enabled: bool
    adult: bool
    featured: bool
    web_enabled: bool
    model_id: str | None
    card: str | None
    """None: the card that comes with the program."""


_FIELDS = [characters.c[name] for name in Record.__struct_fields__]


def everything(connection: Connection) -> list[Record]:
    query = select(*_FIELDS).order_by(characters.c.slug)
    return [Record(**row) for row in connection.execute(query).mappings()]


def stamp(connection: Connection) -> tuple[int, int]:
    """Another one after every change."""
    moments = func.sum(type_coerce(characters.c.updated_at, BigInteger))
    count, moved = connection.execute(select(func.count(), moments)).one()
    return count, int(moved or 0)


def one(connection: Connection, slug: str) -> Record | None:
    row = connection.execute(select(*_FIELDS).where(characters.c.slug == slug)).mappings().one_or_none()
    return None if row is None else Record(**row)


def picture(connection: Connection, slug: str) -> bytes | None:
    return connection.scalar(select(characters.c.picture).where(characters.c.slug == slug))


def put(connection: Connection, record: Record) -> None:
    """Write a row, new or not; its picture stays."""
    values = msgspec.structs.asdict(record)
    changed = connection.execute(update(characters).where(characters.c.slug == record.slug).values(values))
    if not changed.rowcount:
        connection.execute(insert(characters).values(values))


def set_picture(connection: Connection, slug: str, data: bytes | None) -> None:
    connection.execute(update(characters).where(characters.c.slug == slug).values(picture=data))


def remove(connection: Connection, slug: str) -> bool:
    """False if there is no such row."""
    return connection.execute(delete(characters).where(characters.c.slug == slug)).rowcount == 1

"""Which StoreError a fault that SQLite reports is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from fondaco.store.errors import (
    DatabaseDamaged,
    DatabaseFailed,
    DatabaseFull,
    DatabaseLocked,
    DatabaseReadOnly,
)


def is_busy(error: sqlite3.Error) -> bool:
    """Another connection holds a lock; the same call may succeed in a moment."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translated(error: BaseException, path: Path) -> BaseException:
    """The StoreError that `error` means, or `error` itself where the fault is the caller's (a broken constraint)."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error) and (kind := _BY_CODE.get(_code(cause))):
        return kind(path)
    return error


_BY_CODE: dict[
    int, type[DatabaseLocked | DatabaseDamaged | DatabaseFull | DatabaseReadOnly | DatabaseFailed]
] = {
    sqlite3.SQLITE_BUSY: DatabaseLocked,
    sqlite3.SQLITE_LOCKED: DatabaseLocked,
    sqlite3.SQLITE_PROTOCOL: DatabaseLocked,
    sqlite3.SQLITE_CORRUPT: DatabaseDamaged,
    sqlite3.SQLITE_NOTADB: DatabaseDamaged,
    sqlite3.SQLITE_FULL: DatabaseFull,
    sqlite3.SQLITE_READONLY: DatabaseReadOnly,
    sqlite3.SQLITE_CANTOPEN: DatabaseReadOnly,
    sqlite3.SQLITE_PERM: DatabaseReadOnly,
    sqlite3.SQLITE_IOERR: DatabaseFailed,
}


def _code(error: sqlite3.Error) -> int:
    # Extended codes carry the primary one in their low byte. Errors of the Python module itself have none.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

"""How connections to the file are opened: one that writes, many that only read.

Transaction control is ours alone: the driver's and SQLAlchemy's are off (autocommit), and `Link.raw` says BEGIN,
SAVEPOINT and COMMIT while the work is done through `Link.sql`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from fondaco.store.faults import is_busy

_WAL_KEPT_BYTES = 64 * 1024 * 1024


class Link:
    """One connection, seen from both sides."""

    def __init__(self, engine: Engine) -> None:
        self.sql: Connection = engine.connect()
        self.raw = cast("sqlite3.Connection", self.sql.connection.driver_connection)

    def close(self) -> None:
        self.sql.close()


def engine(connect: Callable[[], sqlite3.Connection]) -> Engine:
    """Dialect and compiled-statement cache over `connect`. Errors never show the values of a statement."""
    return create_engine(
        "sqlite://", creator=connect, poolclass=NullPool, isolation_level="AUTOCOMMIT", hide_parameters=True
    )


def writing(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    connection = _connect(path, "rw", busy_seconds)
    try:
        _enter_wal(connection, busy_seconds)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def reading(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """A connection that SQLite itself keeps from writing."""
    return _connect(path, "ro", busy_seconds)


def _connect(path: Path, mode: str, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,  # opened in one thread, used in another, closed in a third: never at once
    )
    connection.execute("PRAGMA temp_store=MEMORY")  # sorted rows never touch a temporary file
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _enter_wal(connection: sqlite3.Connection, busy_seconds: float) -> None:
    # SQLite does not wait its busy timeout for this one step where two processes first open a file together.
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
        else:
            return

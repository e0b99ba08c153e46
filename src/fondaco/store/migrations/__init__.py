"""Brings a database to today's schema, in one transaction, when it is opened.

Alembic is imported only when there is something to do: the stored revision is read with plain SQL first.
A new revision is a file in `versions` and one more name in `REVISIONS`.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fondaco.store.connections import Link
from fondaco.store.errors import DatabaseDamaged, DatabaseNewer

REVISIONS = ("0001", "0002", "0003")
"""Oldest first; a test holds this against the files."""


def bring_up(link: Link, path: Path) -> None:
    """Do all that is missing, or nothing. Raises DatabaseNewer, DatabaseDamaged, sqlite3.Error."""
    if revision(link.raw, path) == REVISIONS[-1]:
        return
    link.raw.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have done it while this one waited.
        if revision(link.raw, path) != REVISIONS[-1]:
            _upgrade(link)
        link.raw.execute("COMMIT")
    finally:
        if link.raw.in_transaction:
            link.raw.execute("ROLLBACK")


def revision(raw: sqlite3.Connection, path: Path) -> str | None:
    """Which revision the file is at; None for an empty one. Raises DatabaseNewer, DatabaseDamaged, sqlite3.Error."""
    tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "alembic_version" not in tables:
        raise DatabaseDamaged(path)
    row = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None:
        raise DatabaseDamaged(path)
    if row[0] not in REVISIONS:
        raise DatabaseNewer(path, found=row[0], known=REVISIONS[-1])
    return row[0]


def _upgrade(link: Link) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = link.sql
    command.upgrade(config, "head")

"""`fondaco doctor` looks into the ledger: right, wrong, of an earlier version, or no database at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from fondaco.cli.findings import Finding, books
from fondaco.settings import Settings, load
from fondaco.store.sqlite import Database


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """Of a server that was started once."""
    database = Database(tmp_path / "data")
    await database.open()
    await database.close()
    return load(None, {"server": {"data_dir": tmp_path / "data"}})


def looked(settings: Settings) -> Finding:
    """What is found; looking leaves nothing behind."""
    folder = settings.server.data_dir
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (found,) = books(settings)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return found


def changed(settings: Settings, *statements: str) -> None:
    with sqlite3.connect(settings.server.data_dir / "fondaco.db") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_without_a_database_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert list(books(load(None, {"server": {"data_dir": tmp_path}}))) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.anyio
async def test_books_that_are_right(settings: Settings) -> None:
    assert looked(settings) == Finding("ok", "the ledger's books are right")


@pytest.mark.anyio
async def test_money_that_came_from_nowhere(settings: Settings) -> None:
    account = "INSERT INTO accounts (id, name, created_at) VALUES ('a', 'somebody', 0)"
    wall = (
        "INSERT INTO walls (id, kind, owner, currency, window_start, allowed, free) "
        "VALUES ('funds:a:USD:0', 'funds', 'a', 'USD', 0, 7, 7)"
    )
    changed(settings, account, wall)
    found = looked(settings)
    assert found.level == "warning"
    assert "books are wrong: account a: 0 USD came in and stayed, its funds are 7" in found.what


@pytest.mark.anyio
async def test_a_database_of_a_later_version(settings: Settings) -> None:
    changed(settings, "UPDATE alembic_version SET version_num = '9999'")
    found = looked(settings)
    assert found.level == "problem"
    assert "newer Fondaco" in found.what


@pytest.mark.anyio
async def test_a_database_of_an_earlier_version(settings: Settings) -> None:
    changed(settings, "UPDATE alembic_version SET version_num = '0001'")
    assert "older version" in looked(settings).what


@pytest.mark.anyio
async def test_what_is_no_database(settings: Settings) -> None:
    (settings.server.data_dir / "fondaco.db").write_bytes(b"not a database, but long enough to be one" * 100)
    found = looked(settings)
    assert found.level == "problem"
    assert "damaged" in found.what

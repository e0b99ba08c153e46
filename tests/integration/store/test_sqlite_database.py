"""What is particular to the SQLite adapter: grouping, files, faults, and other processes on the same file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, insert, select

from fondaco.store import migrations
from fondaco.store.errors import (
    DatabaseAbsent,
    DatabaseDamaged,
    DatabaseFull,
    DatabaseLocked,
    DatabaseNewer,
)
from fondaco.store.schema import accounts, metadata
from fondaco.store.sqlite import Database

pytestmark = pytest.mark.anyio

BORN = datetime(2026, 3, 1, tzinfo=UTC)

WRITING_UNTIL_KILLED = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import insert
from fondaco.store.schema import accounts
from fondaco.store.sqlite import Database

async def main():
    database = Database(Path(sys.argv[1]))
    await database.open()
    async def write(who):
        for n in range(1_000_000):
            name = f"{sys.argv[2]}-{who}-{n}"
            row = dict(id=name, name=name, created_at=datetime.now(UTC))
            await database.write(lambda connection: connection.execute(insert(accounts).values(row)) and None)
            print(name, flush=True)
    await asyncio.gather(*(write(who) for who in range(10)))

asyncio.run(main())
"""

WRITING_ONCE = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from sqlalchemy import insert
from fondaco.store.schema import accounts
from fondaco.store.sqlite import Database

async def main():
    database = Database(Path(sys.argv[1]))
    await database.open()
    row = dict(id=sys.argv[2], name=sys.argv[2], created_at=datetime.now(UTC))
    await database.write(lambda connection: connection.execute(insert(accounts).values(row)) and None)
    await database.close()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def opened(data_dir: Path, **options: float) -> AsyncIterator[Database]:
    database = Database(data_dir, **options)  # pyright: ignore[reportArgumentType]
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def adding(name: str) -> Callable[[Connection], None]:
    return lambda connection: (
        connection.execute(insert(accounts).values(id=name, name=name, created_at=BORN)) and None
    )


def names(connection: Connection) -> set[str]:
    return set(connection.scalars(select(accounts.c.name)))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: mode(path) for path in folder.iterdir()}


def killed_in_the_middle(data_dir: Path, name: str, after: int) -> set[str]:
    """What a process said to be durable before and while it was killed, `after` lines from its start."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITING_UNTIL_KILLED, str(data_dir), name], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout as lines:
        said = [lines.readline() for _ in range(after)]
        child.send_signal(signal.SIGKILL)
        said += lines.readlines()
    child.wait()
    return {line.strip() for line in said if line.endswith("\n")}  # the last one may be cut short by the kill


async def test_writes_that_come_while_one_runs_share_one_commit(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        begun, go_on = threading.Event(), threading.Event()

        def hold(connection: Connection) -> None:
            begun.set()
            go_on.wait(10)

        first = asyncio.create_task(database.write(hold))
        await asyncio.to_thread(begun.wait, 10)
        others = [asyncio.create_task(database.write(adding(f"n{n}"))) for n in range(200)]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, *others)
        assert (database.commits, database.writes) == (2, 201)
        assert len(await database.read(names)) == 200


async def test_two_hundred_tasks_that_write_one_after_the_other_need_far_fewer_commits(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as database:

        async def write(who: int) -> None:
            for n in range(5):
                await database.write(adding(f"{who}-{n}"))

        await asyncio.gather(*(write(who) for who in range(200)))
        assert database.writes == 1000
        assert database.commits < 200


async def test_the_settings_that_durability_rests_on_are_in_force(tmp_path: Path) -> None:
    def asking(connection: Connection) -> dict[str, object]:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "temp_store", "busy_timeout")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas}

    async with opened(tmp_path) as database:
        assert await database.write(asking) == {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "temp_store": 2,
            "busy_timeout": 5000,
        }


async def test_directory_and_files_are_the_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    data_dir = tmp_path / "deep" / "data"
    before = os.umask(0)
    try:
        async with opened(data_dir) as database:
            await database.write(adding("ann"))
            files = modes(data_dir)
    finally:
        os.umask(before)
    assert mode(data_dir) == 0o700
    assert files == {"fondaco.db": 0o600, "fondaco.db-wal": 0o600, "fondaco.db-shm": 0o600}


async def test_a_directory_and_files_of_an_earlier_laxer_start_are_tightened(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with opened(data_dir):
        pass
    data_dir.chmod(0o755)
    (data_dir / "fondaco.db").chmod(0o644)
    async with opened(data_dir) as database:
        await database.write(adding("ann"))
        assert set(modes(data_dir).values()) == {0o600}
    assert mode(data_dir) == 0o700


async def test_a_directory_full_of_other_things_keeps_its_mode(tmp_path: Path) -> None:
    data_dir = tmp_path / "project"
    data_dir.mkdir(mode=0o755)
    (data_dir / "README").touch()
    async with opened(data_dir):
        assert mode(data_dir) == 0o755
        assert mode(data_dir / "fondaco.db") == 0o600


async def test_the_log_is_folded_into_the_file_at_close(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await database.write(adding("ann"))
        await database.read(names)
    assert modes(tmp_path) == {"fondaco.db": 0o600}


async def test_our_own_writes_are_no_foreign_change(tmp_path: Path) -> None:
    async with opened(tmp_path) as database, opened(tmp_path) as other:
        heard: list[str] = []
        database.on_foreign_change(lambda: heard.append("database"))
        other.on_foreign_change(lambda: heard.append("other"))
        for n in range(30):
            await database.write(adding(f"n{n}"))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert set(heard) == {"other"}


async def test_a_foreign_change_is_heard_even_while_our_own_writer_is_stuck(tmp_path: Path) -> None:
    async with opened(tmp_path) as database, opened(tmp_path) as other:
        await database.write(adding("ann"))
        await asyncio.sleep(0.15)
        heard = asyncio.Event()
        database.on_foreign_change(heard.set)
        await other.write(adding("bob"))
        go_on = threading.Event()
        stuck = asyncio.create_task(database.write(lambda _: go_on.wait(10)))
        try:
            await asyncio.wait_for(heard.wait(), 2)
        finally:
            go_on.set()
            await stuck


async def test_a_change_by_another_process_is_heard(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        heard = asyncio.Event()
        database.on_foreign_change(heard.set)
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITING_ONCE, str(tmp_path), "child"
        )
        assert await child.wait() == 0
        await asyncio.wait_for(heard.wait(), 2)
        assert await database.read(names) == {"child"}


@pytest.mark.long
async def test_processes_that_start_at_once_on_an_empty_directory_agree_on_one_schema(tmp_path: Path) -> None:
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", WRITING_ONCE, str(tmp_path / "data"), f"child{n}", stderr=subprocess.PIPE
        )
        for n in range(4)
    ]
    ended = [((await child.communicate())[1], child.returncode) for child in children]
    assert [code for _, code in ended] == [0] * 4, ended
    async with opened(tmp_path / "data") as database:
        assert await database.read(names) == {"child0", "child1", "child2", "child3"}


@pytest.mark.long
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for n in range(5):
        acknowledged |= await asyncio.to_thread(killed_in_the_middle, tmp_path, str(n), 50 + 37 * n)
    async with opened(tmp_path) as database:
        assert await database.read(names) >= acknowledged
        check = await database.read(
            lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalar()
        )
    assert check == "ok"
    assert len(acknowledged) > 600


async def test_a_full_disk_fails_the_write_that_met_it_and_no_later_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await database.write(adding("before"))

        def fill(connection: Connection) -> None:
            connection.exec_driver_sql("PRAGMA max_page_count=1").close()
            connection.exec_driver_sql("CREATE TABLE heap (bytes BLOB)")
            connection.exec_driver_sql("INSERT INTO heap VALUES (zeroblob(100000))")

        with pytest.raises(DatabaseFull, match="no space left"):
            await database.write(fill)
        await database.write(
            lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=100000").close()
        )
        await database.write(adding("after"))
        assert await database.read(names) == {"before", "after"}


async def test_a_transaction_that_sqlite_gave_up_is_acknowledged_to_nobody(tmp_path: Path) -> None:
    # On a failing disk SQLite may roll back by itself; a ROLLBACK out of turn looks the same from here.
    def give_up(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK").close()
        raise RuntimeError("disk gone")

    async with opened(tmp_path) as database:
        begun, go_on = threading.Event(), threading.Event()

        def hold(connection: Connection) -> None:
            begun.set()
            go_on.wait(10)

        first = asyncio.create_task(database.write(hold))
        await asyncio.to_thread(begun.wait, 10)
        together = [asyncio.create_task(database.write(work)) for work in (adding("a"), give_up, adding("b"))]
        await asyncio.sleep(0)
        go_on.set()
        await first
        results = await asyncio.gather(*together, return_exceptions=True)
        assert [type(result) for result in results] == [RuntimeError] * 3
        await database.write(adding("after"))
        assert await database.read(names) == {"after"}


async def test_a_file_held_by_another_program_is_said_to_be_locked(tmp_path: Path) -> None:
    async with opened(tmp_path, busy_seconds=0.1) as database:
        holder = sqlite3.connect(database.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseLocked, match="locked by another program"):
            await database.write(adding("ann"))
        assert await database.read(names) == set()
        holder.execute("ROLLBACK")
        holder.close()
        await database.write(adding("ann"))
        assert await database.read(names) == {"ann"}


async def test_a_file_that_is_no_database_is_said_to_be_damaged_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "fondaco.db"
    path.write_bytes(b"precious notes, not a database" * 100)
    with pytest.raises(DatabaseDamaged, match="restore it from a backup"):
        await Database(tmp_path).open()
    assert path.read_bytes() == b"precious notes, not a database" * 100


async def test_a_database_of_another_program_is_not_built_into(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "fondaco.db")
    other.execute("CREATE TABLE recipes (id)")
    other.close()
    with pytest.raises(DatabaseDamaged):
        await Database(tmp_path).open()


async def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        await database.write(
            lambda connection: (
                connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'") and None
            )
        )
    with pytest.raises(DatabaseNewer, match=r"schema 9999.*upgrade Fondaco"):
        await Database(tmp_path).open()


async def test_an_absent_file_is_only_made_when_that_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAbsent, match="fondaco serve"):
        await Database(tmp_path / "nowhere", create=False).open()
    assert not (tmp_path / "nowhere").exists()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = migrations._upgrade  # pyright: ignore[reportPrivateUsage]

    def break_at_the_end(link: object) -> None:
        upgrade(link)  # pyright: ignore[reportArgumentType]
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrations, "_upgrade", break_at_the_end)
    with pytest.raises(RuntimeError, match="power cut"):
        await Database(tmp_path).open()
    raw = sqlite3.connect(tmp_path / "fondaco.db")
    assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    raw.close()
    monkeypatch.undo()
    async with opened(tmp_path) as database:
        assert await database.read(names) == set()


async def test_a_database_that_is_up_to_date_opens_without_alembic(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    script = (
        "import asyncio, sys; from pathlib import Path; from fondaco.store.sqlite import Database\n"
        "async def main():\n"
        "    database = Database(Path(sys.argv[1])); await database.open(); await database.close()\n"
        "asyncio.run(main()); sys.exit('alembic' in sys.modules)"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path))
    assert await child.wait() == 0


async def test_migrations_lead_to_the_schema_in_the_code(tmp_path: Path) -> None:
    async with opened(tmp_path) as database:
        path = database.path
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(migrations.REVISIONS)

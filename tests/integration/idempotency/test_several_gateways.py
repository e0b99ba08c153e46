"""One `Idempotency-Key` at several gateways of one database, and at those that crashed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert

from fondaco.errors import Conflict
from fondaco.idempotency import store
from fondaco.idempotency.service import Run
from fondaco.idempotency.store import Claim
from fondaco.money import NanoUsd
from fondaco.store.schema import gateways, idempotency
from fondaco.store.sqlite import Database
from keyed_house import House, open_house
from raw_http import until

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOMORROW = NOW + timedelta(hours=24)

BEGINNING = """
import asyncio, sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from sqlalchemy import insert
from fondaco.clock import SystemClock
from fondaco.errors import Conflict
from fondaco.idempotency.service import Idempotency
from fondaco.keys.secret import server_secret
from fondaco.store.schema import gateways
from fondaco.store.sqlite import Database

async def main(data_dir, name, count):
    clock = SystemClock()
    database = Database(Path(data_dir))
    await database.open()
    row = insert(gateways).values(id=name, started_at=clock.now(), heartbeat_at=clock.now())
    await database.write(lambda connection: connection.execute(row))
    here = Idempotency(database, server_secret(Path(data_dir)), clock, SimpleNamespace(id=name))

    async def begin(number):
        use = await here.use("key", "/route", b"text %d" % number, b"", b"body")
        try:
            await here.begin(use, f"{name} {number}")
        except Conflict as conflict:
            return conflict.code
        return "first"

    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(*[await begin(number) for number in range(int(count))], flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data") as house:
        yield house


async def gateway(data_dir: Path, name: str, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BEGINNING,
        str(data_dir),
        name,
        str(count),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def heard(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()


def tell(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")


async def ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.communicate()


@pytest.mark.long
async def test_of_two_processes_that_race_for_the_same_keys_one_is_first_with_each(tmp_path: Path) -> None:
    database = Database(tmp_path / "data")
    await database.open()
    await database.close()
    processes = [await gateway(tmp_path / "data", name, 100) for name in ("a", "b")]
    try:
        assert [await heard(process) for process in processes] == [["ready"]] * 2
        for process in processes:
            tell(process)
        told = [await heard(process) for process in processes]
    finally:
        for process in processes:
            await ended(process)
    assert all(sorted(pair) == ["first", "in_progress"] for pair in zip(*told, strict=True))


async def test_what_a_killed_gateway_was_at_runs_once_it_is_known_to_be_gone(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        process = await gateway(tmp_path / "data", "other", 1)
        try:
            await heard(process)
            house.clock.passed = (datetime.now(UTC) - house.clock.now()).total_seconds()
            tell(process)
            assert await heard(process) == ["first"]
        finally:
            await ended(process)
        use = await house.idempotency.use("key", "/route", b"text 0", b"", b"body")
        with pytest.raises(Conflict) as raised:
            await house.idempotency.begin(use, "mine")
        assert raised.value.code == "in_progress"
        await house.store.write(
            lambda connection: connection.execute(delete(gateways).where(gateways.c.id == "other"))
        )
        run = await house.idempotency.begin(use, "mine")
        assert isinstance(run, Run)
        assert [row[:2] for row in await house.rows()] == [("running", "mine")]
        await run.failed()
        assert await house.rows() == []


async def test_two_gateways_tell_of_each_others_requests(tmp_path: Path, house: House) -> None:
    async with open_house(tmp_path / "data", name="second") as other:
        other.tokens = house.tokens
        house.work.go.clear()
        asked = asyncio.create_task(house.ask({}))
        await until(lambda: house.work.runs == 1)
        running = await other.ask({})
        reused = await other.ask({"say": "else"})
        house.work.go.set()
        first = await asked
        done = await other.ask({})
        assert [answer.json()["code"] for answer in (running, reused, done)] == [
            "in_progress",
            "idempotency_key_reused",
            "already_completed",
        ]
        assert done.json()["request_id"] == first.headers["cf-ray"]
        assert (await house.ask({})).headers["idempotent-replayed"] == "true"
        await house.ask({"fail": "raise"}, "two")
        assert (await other.ask({}, "two")).status == 200
        assert (house.work.runs, other.work.runs) == (2, 1)


async def test_a_gateway_that_starts_again_knows_what_was_done_and_runs_what_was_not(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        first = await house.ask({})
        tokens = house.tokens
        await house.store.write(
            lambda connection: connection.execute(
                insert(idempotency).values(
                    id=b"i" * 32,
                    body=b"b" * 32,
                    state="running",
                    gateway_id="gone",
                    request_id="r",
                    expires_at=TOMORROW,
                )
            )
        )
    async with open_house(tmp_path / "data", name="again") as house:
        house.tokens = tokens
        again = await house.ask({})
        assert again.json()["code"] == "already_completed"
        assert again.json()["request_id"] == first.headers["cf-ray"]
        mine = Claim(b"i" * 32, b"other", "again", "mine", TOMORROW)
        assert await house.store.write(lambda connection: store.claim(connection, mine, NOW)) is None


async def test_a_row_of_this_gateway_that_it_does_not_run_gives_way(house: House) -> None:
    await house.ask({"fail": "raise"})
    first = Claim(b"i" * 32, b"b" * 32, "first", "lost", TOMORROW)
    second = Claim(b"i" * 32, b"c" * 32, "first", "next", TOMORROW)
    assert await house.store.write(lambda connection: store.claim(connection, first, NOW)) is None
    assert await house.store.write(lambda connection: store.claim(connection, second, NOW)) is None
    assert await house.rows() == [("running", "next", 0)]


async def test_a_late_charge_brings_a_released_row_back_but_takes_none_from_another(house: House) -> None:
    mine = Claim(b"i" * 32, b"b" * 32, "first", "mine", TOMORROW)
    other = Claim(b"i" * 32, b"b" * 32, "second", "other", TOMORROW)

    await house.store.write(lambda c: store.claim(c, mine, NOW))
    await house.store.write(lambda c: store.release(c, mine))
    assert await house.rows() == []
    await house.store.write(lambda c: store.mark(c, mine, NanoUsd(5), "DIEM"))
    assert await house.rows() == [("done", "mine", 5)]
    await house.store.write(lambda c: store.release(c, mine))
    found = await house.store.write(lambda c: store.claim(c, other, NOW))
    assert found is not None
    assert (found.done, found.amount, found.currency) == (True, 5, "DIEM")

    assert await house.store.write(lambda c: store.claim(c, other, TOMORROW)) is None
    await house.store.write(lambda c: store.mark(c, mine, NanoUsd(5), "USD"))
    await house.store.write(lambda c: store.release(c, mine))
    assert await house.rows() == [("running", "other", 0)]


async def test_no_more_rows_are_removed_at_once_than_was_said(house: House) -> None:
    for number in range(10):
        claim = Claim(bytes([number]) * 32, b"b", "first", "r", NOW + timedelta(seconds=number))
        await house.store.write(lambda c, claim=claim: store.claim(c, claim, NOW - timedelta(seconds=1)))
    removed = [
        await house.store.write(lambda c: store.sweep(c, NOW + timedelta(seconds=7), 5)) for _ in range(3)
    ]
    assert removed == [5, 3, 0]
    assert Counter(state for state, _, _ in await house.rows()) == {"running": 2}

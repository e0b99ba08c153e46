"""The log of refusals, over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from fondaco.limits.refusals import NO_MODEL, RefusalLog
from fondaco.store.schema import rate_refusals
from fondaco.store.sqlite import Database
from limit_parts import START, HandClock, caller, opened

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await opened(tmp_path, "ann", "ben", *(f"a{n}" for n in range(30)))
    yield database
    await database.close()


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(rate_refusals)) or 0


async def test_it_has_the_last_fifty_of_an_account_newest_first(database: Database, clock: HandClock) -> None:
    log = RefusalLog(database, clock)
    for n in range(130):
        clock.passed = n
        log.note(caller(f"key{n % 2}", "ann"), f"model{n}", "RPM")
        if n % 30 == 0:
            await log.last("ann")  # so that they come in several writes
    log.note(caller("key", "ben"), NO_MODEL, "FAILED_REQUESTS")
    last = await log.last("ann")
    assert [refusal.model_id for refusal in last] == [f"model{n}" for n in range(129, 79, -1)]
    assert last[0].at == START + timedelta(seconds=129)
    assert {refusal.key_id for refusal in await log.last("ann", "key0")} == {"key0"}
    (bens,) = await log.last("ben")
    assert (bens.model_id, bens.type, bens.tier, bens.key_id) == (
        "model:unknown",
        "FAILED_REQUESTS",
        "paid",
        "key",
    )
    assert await database.read(count) == 51
    await log.close()


async def test_a_flood_costs_one_write(database: Database, clock: HandClock) -> None:
    log = RefusalLog(database, clock, every_seconds=0.05)
    before = database.writes
    for _ in range(20_000):
        log.note(caller("key", "ann"), "model", "RPM")
    await asyncio.sleep(0.2)
    assert database.writes - before == 1
    assert await database.read(count) == 50
    await log.close()


async def test_it_is_written_within_its_time_without_being_asked(
    database: Database, clock: HandClock
) -> None:
    log = RefusalLog(database, clock, every_seconds=0.02)
    for expected in (1, 2):
        log.note(caller("key", "ann"), "model", "TPM")
        await asyncio.sleep(0.2)
        assert await database.read(count) == expected
    await log.close()


async def test_what_waits_is_written_at_the_end(database: Database, clock: HandClock) -> None:
    log = RefusalLog(database, clock)
    log.note(caller("key", "ann"), "model", "TPM")
    await log.close()
    assert await database.read(count) == 1


async def test_no_more_wait_to_be_written_than_the_most(database: Database, clock: HandClock) -> None:
    log = RefusalLog(database, clock, most_waiting=200)
    for _ in range(60):
        for n in range(30):
            log.note(caller("key", f"a{n}"), "model", "RPM")
    assert sum(len(row) for row in log._waiting.values()) <= 200  # pyright: ignore[reportPrivateUsage]
    assert log._count == sum(len(row) for row in log._waiting.values())  # pyright: ignore[reportPrivateUsage]
    await log.close()
    assert 0 < await database.read(count) <= 200


async def test_a_database_that_fails_stops_nobody(database: Database, clock: HandClock) -> None:
    log = RefusalLog(database, clock, every_seconds=0.01)
    await database.close()
    log.note(caller("key", "ann"), "model", "RPM")
    await asyncio.sleep(0.05)
    log.note(caller("key", "ann"), "model", "RPM")
    await log.close()

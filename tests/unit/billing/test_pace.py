"""When commits begin: nobody who comes alone waits, and a crowd is gathered."""

from __future__ import annotations

import asyncio

import pytest

from fondaco.billing import pace as module
from fondaco.billing.pace import Pace

pytestmark = pytest.mark.anyio


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_SECONDS", 3600)


async def _waits(pace: Pace, waiting: int) -> asyncio.Task[None]:
    task = asyncio.create_task(pace.gather(waiting))
    await _turns()
    return task


async def _turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("patient")
async def test_after_a_commit_of_few_the_next_begins_at_once() -> None:
    pace = Pace()
    pace.under_way = 10
    pace.began(3)
    assert (await _waits(pace, 1)).done()


@pytest.mark.usefixtures("patient")
async def test_a_crowd_is_waited_for_until_all_that_are_under_way_have_come() -> None:
    pace = Pace()
    pace.under_way = 2
    pace.began(5)
    gathering = await _waits(pace, 5)
    pace.under_way = 1
    pace.came(6)
    await _turns()
    assert not gathering.done()
    pace.under_way = 0
    pace.came(7)
    await _turns()
    assert gathering.done()


@pytest.mark.usefixtures("patient")
async def test_as_many_as_last_time_are_expected_even_when_nobody_is_under_way() -> None:
    pace = Pace()
    pace.began(5)
    gathering = await _waits(pace, 4)
    assert not gathering.done()
    pace.came(5)
    await _turns()
    assert gathering.done()


async def test_a_crowd_that_does_not_come_is_waited_for_a_few_milliseconds_only() -> None:
    pace = Pace()
    pace.under_way = 100
    pace.began(50)
    await asyncio.wait_for(pace.gather(1), 1)


@pytest.mark.usefixtures("patient")
async def test_sixty_four_are_enough() -> None:
    pace = Pace()
    pace.under_way = 100
    pace.began(80)
    gathering = await _waits(pace, 63)
    assert not gathering.done()
    pace.came(64)
    await _turns()
    assert gathering.done()


@pytest.mark.usefixtures("patient")
async def test_whoever_is_in_a_hurry_ends_the_wait() -> None:
    pace = Pace()
    pace.under_way = 100
    pace.began(50)
    gathering = await _waits(pace, 1)
    pace.hurry()
    await _turns()
    assert gathering.done()

"""A gateway among others: who is alone, who is not, and who is dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fondaco.store.presence import Presence
from fondaco.store.sqlite import Database
from ledgers import MovedClock

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def present(data_dir: Path, clock: MovedClock, **options: float) -> AsyncIterator[Presence]:
    database = Database(data_dir)
    await database.open()
    presence = Presence(database, clock, **({"notice_seconds": 0} | options))
    await presence.open()
    try:
        yield presence
    finally:
        await presence.close()
        await database.close()


async def until_alone(presence: Presence, alone: bool) -> None:
    async with asyncio.timeout(3):
        while presence.alone is not alone:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_gateways_see_each_other_come_and_go(tmp_path: Path) -> None:
    clock = MovedClock()
    async with present(tmp_path, clock) as one:
        came: list[int] = []
        one.on_company(lambda: came.append(one.gateways))
        assert one.alone
        async with present(tmp_path, clock) as two:
            assert not two.alone
            await until_alone(one, False)
            assert came == [2]
        await until_alone(one, True)
        assert came == [2]


async def test_a_newcomer_waits_until_the_others_have_noticed(tmp_path: Path) -> None:
    clock = MovedClock()
    async with present(tmp_path, clock) as one, present(tmp_path, clock, notice_seconds=0.3):
        assert not one.alone


async def test_a_silent_gateway_is_dead_within_a_minute_of_its_last_word(tmp_path: Path) -> None:
    clock = MovedClock()
    silent = Database(tmp_path)
    await silent.open()
    await Presence(silent, clock, notice_seconds=0, beat_seconds=1000).open()
    clock.move(seconds=59.9)
    async with present(tmp_path, clock) as one:
        assert not one.alone
        clock.move(seconds=0.2)
        await until_alone(one, True)  # at the moment it is due, not a heartbeat later
    await silent.close()


async def test_one_that_was_only_asleep_comes_back_as_another(tmp_path: Path) -> None:
    clock = MovedClock()
    async with present(tmp_path, clock) as asleep, present(tmp_path, clock) as one:
        lost: list[str] = []
        asleep.on_lost(lambda: lost.append(asleep.id))
        known_as = asleep.id
        clock.move(seconds=61)
        await one.beat()
        assert one.alone
        await asleep.beat()
        assert lost == [asleep.id] != [known_as]
        await until_alone(one, False)

"""Corners of the ledger in which money was once lost, doubled or held for ever."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import func, select

from fondaco.billing.ledger import TooMuch
from fondaco.billing.meter import Metered
from fondaco.chat.answer import fold
from fondaco.chat.tally import Tally
from fondaco.chat.underway import ChatAnswer
from fondaco.content import Content
from fondaco.errors import InsufficientBalance, KeySpendLimitExceeded
from fondaco.keys.caller import SpendLimits
from fondaco.limits.admission import Admission
from fondaco.money import NanoUsd
from fondaco.store.presence import Presence
from fondaco.store.schema import walls
from fondaco.store.sqlite import Database
from fondaco.store.writer import Writer
from fondaco.upstream.wire import EngineAnswer
from ledgers import ACCOUNT, CENT, DOLLAR, USE, MovedClock, a_key, bill, house

pytestmark = pytest.mark.anyio

BILLION = 999_999_999 * DOLLAR


async def test_an_account_never_gets_more_than_its_columns_hold_to_the_nano_dollar(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        for _ in range(4):
            await it.ledger.credit(ACCOUNT, NanoUsd(BILLION), "USD", "test")
        with pytest.raises(TooMuch):
            await it.ledger.credit(ACCOUNT, NanoUsd(BILLION), "USD", "test")
        with pytest.raises(TooMuch):
            await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(2**62 + 1), "test")
        charge = it.charge(caller)
        await charge.hold(NanoUsd(1))
        await charge.settle(bill(1), USE)
        has = await it.ledger.balances(ACCOUNT)
        assert (has.usd, has.diem_allocation) == (4 * BILLION - 1, 0)
        assert await it.faults() == []


async def test_a_daily_allowance_lowered_and_raised_again_is_granted_once_a_day(tmp_path: Path) -> None:
    async with house(tmp_path, clock := MovedClock(), prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(DOLLAR), "test")
        await it.ledger.credit(ACCOUNT, NanoUsd(CENT), "DIEM", "test")
        charge = it.charge(caller)
        await charge.hold(NanoUsd(DOLLAR))
        await charge.settle(bill(DOLLAR), USE)
        for daily in (0, DOLLAR, 0, 2 * DOLLAR):
            await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(daily), "test")
        has = await it.ledger.balances(ACCOUNT)
        assert has.diem in (DOLLAR, DOLLAR + CENT), (
            "two a day, of which one is spent; the cent may have lapsed"
        )
        clock.move(days=1)
        assert (await it.ledger.balances(ACCOUNT)).diem == 2 * DOLLAR
        assert await it.faults() == []


async def test_what_was_held_before_the_clock_was_set_back_counts_in_the_window_that_held_it(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, clock := MovedClock(), prepaid=True) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=DOLLAR, diem=DOLLAR))
        await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(DOLLAR), "test")
        charge = it.charge(caller)
        await charge.hold(NanoUsd(CENT))
        clock.move(days=-1)
        await charge.settle(bill(CENT), USE)
        assert await it.faults() == []


async def test_walls_of_windows_long_over_go_and_those_of_this_month_stay(tmp_path: Path) -> None:
    async with house(tmp_path, clock := MovedClock(), idle_seconds=0.1) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=DOLLAR))
        forever = await a_key(it.database, "forever", limits=SpendLimits("LIFETIME", usd=DOLLAR))
        for _ in range(4):
            for who in (caller, forever):
                charge = it.charge(who)
                await charge.hold(NanoUsd(CENT))
                await charge.settle(bill(CENT), USE)
            clock.move(days=30)
            await asyncio.sleep(0.15)

        async def days() -> int:
            count = select(func.count()).select_from(walls).where(walls.c.owner == "key")
            return await it.database.read(lambda connection: connection.scalar(count) or 0)

        async with asyncio.timeout(2):
            while await days() > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await days() > 0
        charge = it.charge(forever)
        with pytest.raises(KeySpendLimitExceeded):
            await charge.hold(NanoUsd(97 * CENT))
        await charge.hold(NanoUsd(96 * CENT))
        assert await it.faults() == []


async def test_a_version_that_cannot_be_read_does_not_end_the_thread_that_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(writer: Writer) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    database = Database(tmp_path)
    async with house(tmp_path, database=database) as it:
        writer = cast("Writer", vars(database)["_writer"])
        moved: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        with monkeypatch.context() as broken:
            broken.setattr(Writer, "_data_version", unreadable)
            writer.ask_for_foreign(moved.set_result)
            assert await asyncio.wait_for(moved, 2)
        assert await asyncio.wait_for(it.database.write(lambda connection: 1), 2) == 1


async def test_a_heartbeat_goes_on_whatever_has_kept_one_from_being_written(tmp_path: Path) -> None:
    database = Database(tmp_path)
    await database.open()
    presence = Presence(database, MovedClock(), beat_seconds=0.02, notice_seconds=0)
    beats = 0

    def bury(connection: object) -> None:
        nonlocal beats
        beats += 1
        raise ValueError("a fault of the books")

    presence.on_expired(bury)
    await presence.open()
    dead = Presence(database, MovedClock(MovedClock().now().replace(year=2025)), notice_seconds=0)
    vars(dead)["_joined"] = True
    await database.write(dead._beat)  # pyright: ignore[reportPrivateUsage]
    try:
        async with asyncio.timeout(2):
            while beats < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        vars(presence)["_on_expired"].clear()
        await presence.close()
        await database.close()


@pytest.mark.parametrize("end", [asyncio.CancelledError, RuntimeError])
async def test_an_answer_whose_engine_is_left_late_is_paid_or_void_and_holds_nothing(
    end: type[BaseException],
) -> None:
    """A client may leave, and an engine fail, while the connection to the engine is being ended."""
    ends: list[str] = []

    def leave(usage: object) -> None:
        ends.append("left")

    spending = SimpleNamespace(prompt_tokens=1, leave=leave, void=lambda: ends.append("void"))

    async def leave_engine() -> None:
        raise end

    tally = Tally(Content(b"{}"), 1, local=True)
    answer: Any = SimpleNamespace(whole=EngineAnswer([]), spending=spending, tally=tally, aclose=leave_engine)
    with pytest.raises(end):
        await fold(cast("ChatAnswer", answer))
    assert ends == ["left" if end is asyncio.CancelledError else "void"]


@pytest.mark.parametrize("end", ["settled", "void"])
async def test_a_hold_that_gives_way_to_nothing_is_free_again(tmp_path: Path, end: str) -> None:
    """A search is held for, finds nothing, and the model that answers costs nothing."""
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(CENT), "USD", "test")
        charge = it.charge(caller)
        await charge.hold(NanoUsd(CENT))
        await charge.hold(NanoUsd(0), NanoUsd(0))
        if end == "void":
            charge.void()
        else:
            assert await charge.settle((), USE) == 0
        assert await it.charge(caller).hold(NanoUsd(CENT)) == CENT


async def test_what_is_refused_for_money_after_something_was_done_for_it_counts_in_its_rate(
    tmp_path: Path,
) -> None:
    """Else whoever has money for a search, and for no answer, searches for ever and for nothing."""
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(CENT), "USD", "test")
        given_back: list[bool] = []
        admission = cast("Admission", SimpleNamespace(give_back=lambda: given_back.append(True)))
        metered = Metered(admission, it.charge(caller))
        await metered.hold(NanoUsd(CENT))
        with pytest.raises(InsufficientBalance):
            await metered.hold(NanoUsd(CENT + 1))
        assert given_back == []
        with pytest.raises(InsufficientBalance):
            await Metered(admission, it.charge(caller)).hold(NanoUsd(CENT + 1))
        assert given_back == [True]

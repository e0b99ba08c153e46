"""A database that cannot be written: what runs is finished and written once later, what is new is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from fondaco.errors import LedgerUnavailable
from fondaco.keys.caller import SpendLimits
from fondaco.money import NanoUsd
from fondaco.store.errors import DatabaseFull, DatabaseLocked
from fondaco.store.sqlite import Database
from ledgers import ACCOUNT, CENT, DOLLAR, USE, House, MovedClock, a_key, bill, house

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class Failing(Database):
    """A database whose writes meet a full disk while `full`; the statements have run by then."""

    full = False

    async def write(self, work: Callable[[Connection], T]) -> T:
        def fail(connection: Connection) -> T:
            result = work(connection)
            if self.full:
                raise DatabaseFull(self.path)
            return result

        return await super().write(fail)


async def until(true: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_on_a_full_disk_running_requests_end_and_new_ones_are_refused_until_all_is_written(
    tmp_path: Path,
) -> None:
    database = Failing(tmp_path)
    async with house(tmp_path, database=database, prepaid=True, retry_seconds=0.05) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=DOLLAR))
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        running = [it.charge(caller, f"r{n}") for n in range(5)]
        for charge in running:
            await charge.hold(NanoUsd(3 * CENT))
        waits = it.charge(caller)
        database.full = True
        assert [await charge.settle(bill(2 * CENT), USE) for charge in running[:3]] == [2 * CENT] * 3
        assert not it.ledger.writable
        with pytest.raises(LedgerUnavailable):
            it.charge(caller)
        with pytest.raises(LedgerUnavailable):
            await waits.hold(NanoUsd(50 * CENT))
        running[3].settle_soon(bill(CENT), USE)
        running[4].void()
        await asyncio.sleep(0.2)
        assert await it.rows() == []
        database.full = False
        await until(lambda: it.ledger.writable)
        assert sorted(row.request_id for row in await it.rows()) == ["r0", "r1", "r2", "r3"]
        assert await it.charged() == 7 * CENT
        assert (await it.ledger.balances(ACCOUNT)).usd == 93 * CENT
        await it.charge(caller).hold(NanoUsd(90 * CENT))
        assert await it.faults() == []


async def test_a_request_that_only_wanted_to_hold_finds_out_and_the_ledger_comes_back_by_itself(
    tmp_path: Path,
) -> None:
    database = Failing(tmp_path)
    async with house(tmp_path, database=database, retry_seconds=0.05) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=DOLLAR))
        database.full = True
        with pytest.raises(LedgerUnavailable):
            await it.charge(caller).hold(NanoUsd(CENT))
        assert not it.ledger.writable
        database.full = False
        await until(lambda: it.ledger.writable)
        await it.charge(caller).hold(NanoUsd(100 * CENT))


async def test_a_database_locked_by_another_program_is_written_when_that_one_is_done(tmp_path: Path) -> None:
    database = Database(tmp_path, busy_seconds=0.05)
    async with house(tmp_path, database=database, retry_seconds=0.05) as it:
        caller = await a_key(it.database)
        charge = it.charge(caller)
        holder = sqlite3.connect(database.path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert await charge.settle(bill(CENT), USE) == CENT
        assert not it.ledger.writable
        holder.execute("ROLLBACK")
        holder.close()
        await until(lambda: it.ledger.writable)
        assert await it.charged() == CENT
        with pytest.raises(DatabaseLocked):
            raise DatabaseLocked(database.path)


async def test_what_cannot_be_written_at_the_end_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fondaco.billing.ledger._CLOSE_SECONDS", 0.2)
    database = Failing(tmp_path)
    it = House(tmp_path, MovedClock(), database=database, retry_seconds=0.05)
    await it.open()
    caller = await a_key(it.database)
    charges = [it.charge(caller) for _ in range(2)]
    database.full = True
    for charge in charges:
        await charge.settle(bill(CENT), USE)
    await it.close()
    line = next(line for line in capfd.readouterr().err.splitlines() if "ledger.unwritten" in line)
    assert '"count":2' in line.replace(" ", "")


async def test_one_bad_settlement_harms_no_other_and_frees_its_hold(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")

        def refuse(connection: Connection, amount: NanoUsd, currency: str) -> None:
            raise KeyError("no such row")

        charges = [it.charge(caller, f"r{n}") for n in range(5)]
        for charge in charges:
            await charge.hold(NanoUsd(20 * CENT))
        charges[2].ticket.joins = (refuse,)
        ends = await asyncio.gather(
            *(charge.settle(bill(CENT), USE) for charge in charges), return_exceptions=True
        )
        assert [type(end) for end in ends] == [int, int, KeyError, int, int]
        assert [row.request_id for row in await it.rows()] == ["r0", "r1", "r3", "r4"]
        await it.charge(caller).hold(NanoUsd(96 * CENT))
        assert await it.faults() == []


async def test_what_joins_a_settlement_is_written_with_it_and_told_the_charge(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database)
        told: list[tuple[int, str]] = []
        charge = it.charge(caller)
        charge.ticket.joins = (lambda connection, amount, currency: told.append((amount, currency)),)
        await charge.settle(bill(CENT, CENT), USE)
        nothing = it.charge(caller)
        nothing.ticket.joins = (lambda connection, amount, currency: told.append((amount, currency)),)
        await nothing.settle((), USE)
        assert told == [(2 * CENT, "USD"), (0, "USD")]
        assert len(await it.rows()) == 2

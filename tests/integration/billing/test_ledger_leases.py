"""Leases: taken by blocks, given back when idle or recalled, and free again when their gateway is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select

from fondaco.errors import InsufficientBalance, KeySpendLimitExceeded
from fondaco.keys.caller import Caller, SpendLimits
from fondaco.money import NanoUsd
from fondaco.store.schema import gateways, idempotency, leases
from ledgers import ACCOUNT, CENT, DOLLAR, NOON, USE, House, MovedClock, a_key, bill, house

pytestmark = pytest.mark.anyio


async def eventually(get: object, expected: object, seconds: float = 3) -> None:
    found = None
    for _ in range(int(seconds / 0.02)):
        found = await get()  # pyright: ignore[reportGeneralTypeIssues,reportUnknownVariableType,reportCallIssue]
        if found == expected:
            return
        await asyncio.sleep(0.02)
    assert found == expected


async def test_an_idle_block_goes_back(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True, idle_seconds=0.1) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(1000 * DOLLAR), "USD", "test")
        charge = it.charge(caller)
        await charge.hold(NanoUsd(CENT))
        await eventually(lambda: leased(it, "funds:"), CENT)
        charge.void()
        await eventually(lambda: leased(it, "funds:"), 0)
        count = select(func.count()).select_from(leases)
        assert await it.database.read(lambda connection: connection.scalar(count)) == 0
        await it.charge(caller).hold(NanoUsd(1000 * DOLLAR))


async def leased(it: House, start: str) -> int:
    return (await it.wall(start))["leased"]


async def test_what_another_gateway_does_not_need_is_called_back_before_a_refusal(tmp_path: Path) -> None:
    async with house(tmp_path) as one, house(tmp_path) as two:
        limits = SpendLimits("LIFETIME", usd=1000 * DOLLAR)
        caller = await a_key(one.database, limits=limits)
        while one.presence.alone:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        charge = one.charge(caller)
        await charge.hold(NanoUsd(DOLLAR))
        assert await leased(one, "key:") == 125 * DOLLAR, "a quarter of it, for each of two"
        await two.charge(caller).hold(NanoUsd(999 * DOLLAR))
        with pytest.raises(KeySpendLimitExceeded):
            await two.charge(caller).hold(NanoUsd(CENT))
        await charge.settle(bill(DOLLAR // 2), USE)
        await two.charge(caller).hold(NanoUsd(DOLLAR // 2))
        assert await one.faults() == []


async def test_a_limit_lowered_by_another_process_is_kept_by_this_one(tmp_path: Path) -> None:
    async with house(tmp_path) as one, house(tmp_path) as two:
        caller = await a_key(one.database, limits=SpendLimits("EPOCH", usd=1000 * DOLLAR))
        await one.charge(caller).hold(NanoUsd(DOLLAR))
        limits = SpendLimits("EPOCH", usd=2 * DOLLAR)
        await two.database.write(lambda connection: two.ledger.relimit(connection, "key", limits))
        await eventually(lambda: leased(one, "key:"), DOLLAR)
        lowered = Caller(key_id="key", account_id=ACCOUNT, kind="INFERENCE", limits=limits)
        await one.charge(lowered).hold(NanoUsd(DOLLAR))
        with pytest.raises(KeySpendLimitExceeded):
            await one.charge(lowered).hold(NanoUsd(1))


async def test_a_debit_calls_back_what_lies_idle_and_is_refused_beyond_what_is_free(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as one, house(tmp_path, prepaid=True) as two:
        caller = await a_key(one.database)
        await one.ledger.credit(ACCOUNT, NanoUsd(10 * DOLLAR), "USD", "test")
        await one.charge(caller).hold(NanoUsd(CENT))
        with pytest.raises(InsufficientBalance):
            await two.ledger.credit(ACCOUNT, NanoUsd(-10 * DOLLAR), "USD", "test")
        left = await two.ledger.credit(ACCOUNT, NanoUsd(CENT - 10 * DOLLAR), "USD", "test")
        assert left.usd == CENT
        assert await one.faults() == []


async def test_a_crashed_gateways_leases_are_free_after_a_minute(tmp_path: Path) -> None:
    async with house(tmp_path, clock := MovedClock(), prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        crashed = House(tmp_path, clock, prepaid=True)
        await crashed.open()
        await crashed.charge(caller).hold(NanoUsd(DOLLAR))
        row = {
            "id": b"i",
            "body": b"b",
            "gateway_id": crashed.presence.id,
            "request_id": "r",
            "expires_at": NOON,
        }
        await it.database.write(
            lambda connection: connection.execute(insert(idempotency).values(state="running", **row)) and None
        )
        crashed.presence._closed = True  # pyright: ignore[reportPrivateUsage]
        crashed.ledger._loop = None  # pyright: ignore[reportPrivateUsage]
        await crashed.database.close()
        clock.move(seconds=59)
        await it.presence.beat()
        assert not it.presence.alone
        with pytest.raises(InsufficientBalance):
            await it.charge(caller).hold(NanoUsd(CENT))
        clock.move(seconds=1)
        await it.presence.beat()
        assert it.presence.alone
        await it.charge(caller).hold(NanoUsd(DOLLAR))
        count = select(func.count()).select_from(idempotency)
        assert await it.database.read(lambda connection: connection.scalar(count)) == 0
        assert await it.faults() == []


async def test_a_gateway_that_was_taken_for_dead_charges_what_is_still_there(tmp_path: Path) -> None:
    async with (
        house(tmp_path, clock := MovedClock(), prepaid=True) as asleep,
        house(tmp_path, clock, prepaid=True) as other,
    ):
        caller = await a_key(other.database)
        await other.ledger.credit(ACCOUNT, NanoUsd(10 * CENT), "USD", "test")
        first, second = asleep.charge(caller, "first"), asleep.charge(caller, "second")
        await first.hold(NanoUsd(4 * CENT))
        await second.hold(NanoUsd(4 * CENT))
        known_as = asleep.presence.id
        clock.move(seconds=60)
        await other.presence.beat()
        await other.charge(caller).hold(NanoUsd(5 * CENT))
        ends = await asyncio.gather(*(charge.settle(bill(3 * CENT), USE) for charge in (first, second)))
        assert ends == [3 * CENT, 2 * CENT]
        assert asleep.presence.id != known_as
        with pytest.raises(InsufficientBalance):
            await asleep.charge(caller).hold(NanoUsd(CENT))
        assert await asleep.charged() == 5 * CENT
        assert await other.faults() == []


async def test_settlements_of_one_moment_share_one_write(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=1000 * DOLLAR))
        charges = [it.charge(caller, f"r{n}") for n in range(300)]
        for charge in charges:
            await charge.hold(NanoUsd(CENT))
        before = it.database.writes  # pyright: ignore[reportAttributeAccessIssue]
        await asyncio.gather(*(charge.settle(bill(CENT, CENT), USE) for charge in charges))
        assert it.database.writes == before + 1  # pyright: ignore[reportAttributeAccessIssue]
        assert [row.request_id for row in await it.rows()] == [f"r{n // 2}" for n in range(600)]
        assert await it.faults() == []


async def test_who_stops_waiting_for_a_hold_has_nothing_held(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=3 * CENT))
        for turns in range(12):
            waiting = asyncio.create_task(it.charge(caller).hold(NanoUsd(3 * CENT)))
            for _ in range(turns):
                await asyncio.sleep(0.0003)
            waiting.cancel()
            try:
                await waiting
            except asyncio.CancelledError:
                pass
            else:
                break
            charge = it.charge(caller)
            await charge.hold(NanoUsd(3 * CENT))
            charge.void()


async def test_who_stops_waiting_for_a_settlement_is_charged_once(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database)
        waiting = asyncio.create_task(it.charge(caller).settle(bill(CENT), USE))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await it.ledger.balances(ACCOUNT)
        assert await it.charged() == CENT


async def test_known_balances_follow_what_is_settled_and_what_others_do(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as one, house(tmp_path, prepaid=True) as two:
        caller = await a_key(one.database)
        assert one.ledger.known_balances(ACCOUNT) is None
        await one.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        charge = one.charge(caller)
        await charge.hold(NanoUsd(CENT))
        await charge.settle(bill(CENT), USE)
        known = one.ledger.known_balances(ACCOUNT)
        assert known is not None
        assert known.usd == 99 * CENT
        await two.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")

        async def usd() -> int | None:
            known = one.ledger.known_balances(ACCOUNT)
            return known and known.usd

        await eventually(usd, 199 * CENT)


async def test_a_closed_ledger_leaves_no_lease(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        async with house(tmp_path, prepaid=True) as other:
            await other.charge(caller).hold(NanoUsd(CENT))
        assert await leased(it, "funds:") == 0
        gone = delete(gateways).where(gateways.c.id == other.presence.id)
        assert await it.database.write(lambda connection: connection.execute(gone).rowcount) == 0

"""Nobody spends more than allowed: exactly so much is admitted at a wall, and each wall is the right one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fondaco.errors import InsufficientBalance, KeySpendLimitExceeded
from fondaco.keys.caller import Caller, SpendLimits
from fondaco.money import NanoUsd
from ledgers import ACCOUNT, CENT, DOLLAR, USE, House, MovedClock, a_key, bill, house

pytestmark = pytest.mark.anyio

THREE = NanoUsd(3 * CENT)


async def ask(house: House, caller: Caller, cost: int = THREE) -> str:
    """What becomes of one request whose ceiling is its cost."""
    charge = house.charge(caller)
    try:
        await charge.hold(NanoUsd(cost))
    except (InsufficientBalance, KeySpendLimitExceeded) as error:
        return error.code
    assert await charge.settle(bill(cost), USE) == cost
    return "admitted"


async def test_a_thousand_at_once_at_a_keys_limit_admit_exactly_what_it_covers(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=DOLLAR))
        ends = Counter(await asyncio.gather(*(ask(it, caller) for _ in range(1000))))
        assert ends == {"admitted": 33, "API_KEY_USD_SPEND_LIMIT_EXCEEDED": 967}
        assert (await it.wall("key:"))["spent"] == 99 * CENT
        assert len(await it.rows()) == 33
        assert await it.faults() == []


async def test_a_thousand_at_once_at_a_balance_admit_exactly_what_it_covers(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        ends = Counter(await asyncio.gather(*(ask(it, caller) for _ in range(1000))))
        assert ends == {"admitted": 33, "INSUFFICIENT_BALANCE": 967}
        assert (await it.ledger.balances(ACCOUNT)).usd == CENT
        assert await it.faults() == []


ASKING = """
import asyncio, sys
from collections import Counter
from pathlib import Path
from fondaco.clock import SystemClock
from fondaco.keys.caller import Caller, SpendLimits
from ledgers import DOLLAR, House
from test_ledger_walls import ask

async def main():
    it = House(Path(sys.argv[1]), SystemClock(), prepaid=sys.argv[2] == "prepaid")
    await it.open()
    limits = None if sys.argv[2] == "prepaid" else SpendLimits("LIFETIME", usd=DOLLAR)
    caller = Caller(key_id="key", account_id="acc", kind="INFERENCE", limits=limits)
    print("ready", flush=True)
    sys.stdin.readline()
    ends = Counter(await asyncio.gather(*(ask(it, caller) for _ in range(500))))
    print(ends["admitted"], ends.total(), flush=True)
    sys.stdin.readline()
    await it.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("wall", ["key", pytest.param("prepaid", marks=pytest.mark.long)])
async def test_two_processes_admit_together_exactly_what_a_wall_covers(tmp_path: Path, wall: str) -> None:
    async with house(tmp_path, prepaid=wall == "prepaid") as it:
        await a_key(it.database, limits=SpendLimits("LIFETIME", usd=DOLLAR) if wall == "key" else None)
        if wall == "prepaid":
            await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
    places = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    code = f"import sys; sys.path[:0] = {places!r}\n{ASKING}"
    children = [
        subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", code, str(tmp_path), wall],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said: list[list[int]] = []
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None
        said.append([int(word) for word in child.stdout.readline().split()])
    for child in children:
        child.communicate("end\n", timeout=30)
    assert [asked for _, asked in said] == [500, 500]
    assert sum(admitted for admitted, _ in said) == 33
    async with house(tmp_path) as it:
        found = await it.wall("key:" if wall == "key" else "funds:")
        assert (found["free"], found["leased"], found["spent"]) == (CENT, 0, 99 * CENT)
        assert await it.faults() == []


async def test_far_from_a_wall_a_hold_is_taken_from_a_block_without_the_database(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database, limits=SpendLimits("MONTH", usd=1000 * DOLLAR))
        await it.ledger.credit(ACCOUNT, NanoUsd(1000 * DOLLAR), "USD", "test")
        await it.charge(caller).hold(NanoUsd(CENT))
        writes = it.database.writes  # pyright: ignore[reportAttributeAccessIssue]
        for _ in range(100):
            await it.charge(caller).hold(NanoUsd(CENT))
        assert it.database.writes == writes  # pyright: ignore[reportAttributeAccessIssue]
        assert (await it.wall("funds:"))["leased"] == 250 * DOLLAR


async def test_near_a_wall_a_block_is_one_ceiling(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=DOLLAR))
        await it.charge(caller).hold(THREE)
        assert (await it.wall("key:"))["leased"] == THREE


async def test_both_walls_or_neither(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=2 * CENT))
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        with pytest.raises(KeySpendLimitExceeded):
            await it.charge(caller).hold(THREE)
        assert (await it.wall("funds:"))["leased"] == 0
        charge = it.charge(caller)
        await charge.hold(NanoUsd(2 * CENT))
        assert (await it.wall("funds:"))["leased"] == (await it.wall("key:"))["leased"] == 2 * CENT
        await charge.settle(bill(CENT), USE)
        assert (await it.wall("funds:"))["spent"] == (await it.wall("key:"))["spent"] == CENT
        assert await it.faults() == []


async def test_currencies_are_spent_in_order_and_one_covers_a_request_whole(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(5 * CENT), "by the test")
        await it.ledger.credit(ACCOUNT, NanoUsd(7 * CENT), "BUNDLED_CREDITS", "test")
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        used: list[str] = []
        for cost in (3, 3, 3, 3, 2, 1):
            charge = it.charge(caller)
            await charge.hold(NanoUsd(cost * CENT))
            await charge.settle(bill(cost * CENT), USE)
            used.append(charge.currency)
        assert used == ["DIEM", "BUNDLED_CREDITS", "BUNDLED_CREDITS", "USD", "DIEM", "BUNDLED_CREDITS"]
        left = await it.ledger.balances(ACCOUNT)
        assert (left.diem, left.bundled, left.usd) == (0, 0, 97 * CENT)
        assert await it.faults() == []


async def test_a_keys_limit_binds_its_own_currency_and_credits_count_as_dollars(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=4 * CENT, diem=CENT, vcu=0))
        await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(DOLLAR), "by the test")
        await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "BUNDLED_CREDITS", "test")
        assert await ask(it, caller, CENT) == "admitted"
        assert await ask(it, caller, 3 * CENT) == "admitted"
        assert [row.currency for row in await it.rows()] == ["DIEM", "BUNDLED_CREDITS"]
        assert await ask(it, caller, 2 * CENT) == "API_KEY_DIEM_SPEND_LIMIT_EXCEEDED"
        assert await it.faults() == []


async def test_what_is_left_is_held_where_that_is_enough(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(2 * CENT), "BUNDLED_CREDITS", "test")
        await it.ledger.credit(ACCOUNT, NanoUsd(5 * CENT), "USD", "test")
        charge = it.charge(caller)
        assert await charge.hold(NanoUsd(9 * CENT), least=NanoUsd(CENT)) == 5 * CENT
        assert charge.currency == "USD"
        assert await charge.settle(bill(4 * CENT, 3 * CENT), USE) == 5 * CENT
        assert [row.amount for row in await it.rows()] == [4 * CENT, CENT]
        with pytest.raises(InsufficientBalance):
            await it.charge(caller).hold(NanoUsd(9 * CENT), least=NanoUsd(3 * CENT))
        assert await it.faults() == []


async def test_a_minimum_stays_in_the_account(tmp_path: Path) -> None:
    async with house(tmp_path, prepaid=True, minimum_balance=NanoUsd(10 * CENT)) as it:
        caller = await a_key(it.database)
        await it.ledger.credit(ACCOUNT, NanoUsd(9 * CENT), "BUNDLED_CREDITS", "test")
        await it.ledger.credit(ACCOUNT, NanoUsd(5 * CENT), "USD", "test")
        assert await ask(it, caller, 5 * CENT) == "INSUFFICIENT_BALANCE"
        assert await ask(it, caller, 4 * CENT) == "admitted"
        assert await ask(it, caller, 1) == "INSUFFICIENT_BALANCE"
        assert await it.faults() == []


async def test_a_hold_grows_as_long_as_there_is_money(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=10 * CENT))
        charge = it.charge(caller)
        await charge.hold(THREE)
        assert await charge.grow(THREE)
        assert await charge.grow(THREE)
        assert not await charge.grow(THREE)
        assert charge.held == 9 * CENT
        charge.void()
        assert await ask(it, caller, 10 * CENT) == "admitted"
        assert await it.faults() == []


async def test_a_keys_limit_begins_anew_with_each_day_and_a_hold_stays_in_its_own(tmp_path: Path) -> None:
    async with house(tmp_path, clock := MovedClock()) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=5 * CENT))
        late = it.charge(caller)
        await late.hold(NanoUsd(5 * CENT))
        assert await ask(it, caller) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
        clock.move(hours=12)
        assert await ask(it, caller, 5 * CENT) == "admitted"
        await late.settle(bill(5 * CENT), USE)
        assert sorted(row.at.day for row in await it.rows()) == [15, 16]
        assert await it.faults() == []


async def test_a_lifetimes_and_a_months_limit_outlast_the_day(tmp_path: Path) -> None:
    async with house(tmp_path, clock := MovedClock()) as it:
        month = await a_key(it.database, "month", SpendLimits("MONTH", usd=5 * CENT))
        life = await a_key(it.database, "life", SpendLimits("LIFETIME", usd=5 * CENT))
        assert [await ask(it, key) for key in (month, life)] == ["admitted"] * 2
        clock.move(days=3)
        assert {await ask(it, key) for key in (month, life)} == {"API_KEY_USD_SPEND_LIMIT_EXCEEDED"}
        clock.move(days=20)
        assert await ask(it, month) == "admitted"
        assert await ask(it, life) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
        assert await it.faults() == []


async def test_diem_is_granted_each_day_and_what_is_left_lapses(tmp_path: Path) -> None:
    async with house(tmp_path, clock := MovedClock(), prepaid=True, idle_seconds=0.05) as it:
        caller = await a_key(it.database)
        await it.ledger.set_diem_daily(ACCOUNT, NanoUsd(DOLLAR), "by the test")
        late, gone = it.charge(caller), it.charge(caller)
        await late.hold(NanoUsd(20 * CENT))
        await gone.hold(NanoUsd(30 * CENT))
        clock.move(hours=12)
        assert await ask(it, caller, DOLLAR) == "admitted"
        await late.settle(bill(15 * CENT), USE)
        gone.void()
        await asyncio.sleep(0.2)
        assert sum(row.amount for row in await it.rows("grant")) == 2 * DOLLAR
        assert sum(row.amount for row in await it.rows("lapse")) == 85 * CENT
        assert [row.at.day for row in await it.rows()] == [16, 15]
        assert (await it.ledger.balances(ACCOUNT)).diem == 0
        assert await it.faults() == []


async def test_a_limit_that_is_set_counts_what_was_spent_in_its_window(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        free = await a_key(it.database)
        charge = it.charge(free)
        assert await ask(it, free, 8 * CENT) == "admitted"
        await charge.hold(THREE)
        limits = SpendLimits("EPOCH", usd=10 * CENT)
        await it.database.write(lambda connection: it.ledger.relimit(connection, "key", limits))
        await charge.settle(bill(CENT), USE)  # admitted before the limit, and counted all the same
        limited = Caller(key_id="key", account_id=ACCOUNT, kind="INFERENCE", limits=limits)
        assert await ask(it, limited, 2 * CENT) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
        assert await ask(it, limited, CENT) == "admitted"
        assert (await it.wall("key:"))["spent"] == 10 * CENT


async def test_a_lowered_limit_leaves_what_is_held_and_a_raised_one_frees_more(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caller = await a_key(it.database, limits=SpendLimits("EPOCH", usd=10 * CENT))
        held = it.charge(caller)
        await held.hold(NanoUsd(8 * CENT))

        async def limit(usd: int) -> Caller:
            limits = SpendLimits("EPOCH", usd=usd)
            await it.database.write(lambda connection: it.ledger.relimit(connection, "key", limits))
            return Caller(key_id="key", account_id=ACCOUNT, kind="INFERENCE", limits=limits)

        lower = await limit(5 * CENT)
        assert await it.wall("key:") == {
            "allowed": 5 * CENT,
            "free": 0,
            "leased": 8 * CENT,
            "spent": 0,
            "excess": 3 * CENT,
        }
        assert await ask(it, lower, 1) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
        await held.settle(bill(2 * CENT), USE)
        assert await ask(it, lower, 4 * CENT) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
        assert await ask(it, lower, 3 * CENT) == "admitted"
        higher = await limit(9 * CENT)
        assert await ask(it, higher, 4 * CENT) == "admitted"
        assert await ask(it, higher, 1) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"


async def test_a_key_made_with_a_changed_limit_is_bound_by_its_row(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        await a_key(it.database, limits=SpendLimits("EPOCH", usd=CENT))
        stale = Caller(
            key_id="key", account_id=ACCOUNT, kind="INFERENCE", limits=SpendLimits("EPOCH", usd=DOLLAR)
        )
        assert await ask(it, stale) == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"

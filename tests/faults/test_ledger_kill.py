"""kill -9 before and after each durable write: what was acknowledged is there once, and nothing stays held."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fondaco.keys.caller import SpendLimits
from fondaco.money import NanoUsd
from ledgers import ACCOUNT, CENT, DOLLAR, MovedClock, a_key, house

pytestmark = pytest.mark.anyio

# The child kills itself in its own wrapper around the store's writes: `point` counts the moments before and after
# each commit. It says `settled <request> <amount>` as each promise returns.
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from fondaco.clock import SystemClock
from fondaco.errors import PaymentRequired
from fondaco.keys.caller import Caller, SpendLimits
from fondaco.store.sqlite import Database
from ledgers import ACCOUNT, CENT, DOLLAR, USE, House, bill

class Mortal(Database):
    left = int(sys.argv[2])

    def point(self):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def write(self, work):
        def mortal(connection):
            self.point()  # nothing of it is written
            result = work(connection)
            self.point()  # written, not committed
            return result
        result = await super().write(mortal)
        self.point()  # committed, and nobody told
        return result

async def main():
    it = House(Path(sys.argv[1]), SystemClock(), database=Mortal(Path(sys.argv[1])), prepaid=True, idle_seconds=0.02)
    await it.open()
    caller = Caller(key_id="key", account_id=ACCOUNT, kind="INFERENCE", limits=SpendLimits("LIFETIME", usd=90 * CENT))

    async def one(name, cost):
        charge = it.charge(caller, name)
        await charge.hold(2 * cost * CENT)
        await charge.grow(cost * CENT)
        print("settled", name, await charge.settle(bill(cost * CENT, cost * CENT), USE), flush=True)

    for turn in range(4):
        await asyncio.gather(*(one(f"{sys.argv[2]}-{turn}-{n}", n) for n in range(1, 4)), return_exceptions=True)
        await asyncio.sleep(0.05)
    await it.ledger.credit(ACCOUNT, 5 * CENT, "USD", "test")
    print("credited", flush=True)
    await it.close()

asyncio.run(main())
"""


async def killed(data_dir: Path, point: int) -> tuple[bool, list[str]]:
    """Whether the child was killed, and what it had promised."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{CHILD}"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(data_dir), str(point), stdout=subprocess.PIPE
    )
    said, _ = await child.communicate()
    return child.returncode == -9, said.decode().split("\n")[:-1]


async def check(tmp_path: Path, points: range) -> int:
    """Kill a child at each of these points; how many of them there were."""
    reached = 0
    for point in points:
        data_dir = tmp_path / str(point)
        async with house(data_dir, prepaid=True) as it:
            await a_key(it.database, limits=SpendLimits("LIFETIME", usd=90 * CENT))
            await it.ledger.credit(ACCOUNT, NanoUsd(DOLLAR), "USD", "test")
        was_killed, promised = await killed(data_dir, point)
        if not was_killed:
            break
        reached += 1
        async with house(data_dir, clock := MovedClock(datetime.now(UTC)), prepaid=True) as it:
            assert await it.faults() == []
            clock.move(seconds=60)
            await it.presence.beat()
            assert it.presence.alone
            assert await it.faults() == []
            rows = Counter[str]()
            amounts = Counter[str]()
            for row in await it.rows():
                rows[row.request_id] += 1
                amounts[row.request_id] += row.amount
            assert set(rows.values()) <= {2}, "each bill has two lines, and each is there once"
            for line in promised:
                word, *rest = line.split()
                if word == "settled":
                    assert amounts[rest[0]] == int(rest[1])
                else:
                    assert len(await it.rows("credit")) == 2
            credited = sum(row.amount for row in await it.rows("credit"))
            left = (await it.ledger.balances(ACCOUNT)).usd
            assert left == credited - amounts.total()
            funds, key = await it.wall("funds:"), await it.wall("key:")
            assert (funds["leased"], key.get("leased")) == (0, 0)
            assert funds["free"] == left
    return reached


@pytest.mark.long
async def test_kill_at_a_few_points_loses_and_doubles_nothing(tmp_path: Path) -> None:
    assert await check(tmp_path, range(8, 15, 3)) == 3


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_kill_at_every_point_loses_and_doubles_nothing(tmp_path: Path) -> None:
    points = await check(tmp_path, range(1000))
    print(f"killed at {points} points")  # noqa: T201
    assert points >= 20

"""Random schedules of everything that can happen to money, against a model that a child could keep."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, update

from fondaco.billing.charge import Charge
from fondaco.errors import InsufficientBalance, KeySpendLimitExceeded
from fondaco.keys.caller import Caller, SpendLimits
from fondaco.money import NanoUsd
from fondaco.store.connections import Link
from fondaco.store.schema import api_keys
from fondaco.store.sqlite import Database
from ledgers import ACCOUNT, USE, House, MovedClock, a_key, bill, ensure_account

T = TypeVar("T")

AMOUNTS = st.integers(0, 60)
WHICH = st.integers(0, 999)
LIMITS = st.builds(
    SpendLimits,
    period=st.sampled_from(["EPOCH", "MONTH", "LIFETIME"]),
    usd=st.none() | st.integers(0, 200),
    diem=st.none() | st.integers(0, 100),
)


class Loose(Database):
    """Without the disk's own time: what is tested here is arithmetic."""

    def _connect(self) -> Link:
        link = super()._connect()
        link.raw.execute("PRAGMA synchronous=OFF")
        return link


SCHEDULES = {"run": 0}


class Money(RuleBasedStateMachine):
    """Two gateways on one database; either may crash at any moment and come back."""

    prepaid = True
    template: Path | None = None

    def __init__(self) -> None:
        super().__init__()
        SCHEDULES["run"] += 1
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        if self.template is not None:
            shutil.copytree(self.template, self.folder / "data")
        self.clock = MovedClock()
        self.houses: list[House] = []
        self.open: list[tuple[int, Charge, int]] = []
        self.charged: dict[str, int] = {}
        self.lost_usd = 0
        self.put_in = 0
        self.caller = Caller(key_id="key", account_id=ACCOUNT, kind="INFERENCE")
        self.serial = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        for _ in range(2):
            self.houses.append(self.run(self.opened()))

    async def opened(self) -> House:
        house = House(
            self.folder / "data", self.clock, database=Loose(self.folder / "data"), prepaid=self.prepaid
        )
        await house.open()
        return house

    @rule(at=st.integers(0, 1), ceiling=AMOUNTS, least=st.none() | st.integers(1, 20))
    def hold(self, at: int, ceiling: int, least: int | None) -> None:
        self.serial += 1
        charge = self.houses[at].charge(self.caller, f"r{self.serial}")
        try:
            held = self.run(charge.hold(NanoUsd(ceiling), None if least is None else NanoUsd(least)))
        except (InsufficientBalance, KeySpendLimitExceeded):
            return
        assert min(ceiling, least if least is not None else ceiling) <= held <= ceiling
        self.open.append((at, charge, held))

    @rule(at=st.integers(0, 1), ceilings=st.lists(st.integers(1, 9), min_size=2, max_size=8))
    def hold_several_at_once(self, at: int, ceilings: list[int]) -> None:
        charges: list[Charge] = []
        for _ in ceilings:
            self.serial += 1
            charges.append(self.houses[at].charge(self.caller, f"r{self.serial}"))

        async def hold() -> list[Any]:
            asked = (charge.hold(NanoUsd(ceiling)) for charge, ceiling in zip(charges, ceilings, strict=True))
            return await asyncio.gather(*asked, return_exceptions=True)

        for charge, ceiling, end in zip(charges, ceilings, self.run(hold()), strict=True):
            if isinstance(end, BaseException):
                assert isinstance(end, InsufficientBalance | KeySpendLimitExceeded)
            else:
                self.open.append((at, charge, ceiling))

    # What is drawn never hangs on how things stand: two threads decide some of that, and Hypothesis must be able to
    # run a schedule again.

    @rule(which=WHICH, more=st.integers(1, 20))
    def grow(self, which: int, more: int) -> None:
        if not self.open:
            return
        n = which % len(self.open)
        at, charge, held = self.open[n]
        if self.run(charge.grow(NanoUsd(more))):
            self.open[n] = (at, charge, held + more)

    @rule(which=WHICH, lines=st.lists(AMOUNTS, max_size=3))
    def settle(self, which: int, lines: list[int]) -> None:
        if not self.open:
            return
        _, charge, held = self.open.pop(which % len(self.open))
        charged = self.run(charge.settle(bill(*lines), USE))
        expected = min(sum(lines), held) if charge.walled else sum(lines)
        assert charged <= expected
        if self.is_backed(charge):
            assert charged == expected
        if lines:
            self.charged[charge.ticket.request_id] = charged

    def is_backed(self, charge: Charge) -> bool:
        return charge._leases.is_mine(charge._option)  # pyright: ignore[reportPrivateUsage]

    @rule(which=WHICH)
    def void(self, which: int) -> None:
        if self.open:
            self.open.pop(which % len(self.open))[1].void()

    @rule(
        at=st.integers(0, 1), amount=st.integers(1, 150), currency=st.sampled_from(["USD", "BUNDLED_CREDITS"])
    )
    def top_up(self, at: int, amount: int, currency: Any) -> None:
        self.run(self.houses[at].ledger.credit(ACCOUNT, NanoUsd(amount), currency, "test"))
        self.put_in += amount

    @rule(
        at=st.integers(0, 1), amount=st.integers(1, 50), currency=st.sampled_from(["USD", "BUNDLED_CREDITS"])
    )
    def debit(self, at: int, amount: int, currency: Any) -> None:
        try:
            self.run(self.houses[at].ledger.credit(ACCOUNT, NanoUsd(-amount), currency, "test"))
        except InsufficientBalance:
            return
        self.put_in -= amount

    @rule(at=st.integers(0, 1), amount=st.integers(0, 80))
    def set_allowance(self, at: int, amount: int) -> None:
        self.run(self.houses[at].ledger.set_diem_daily(ACCOUNT, NanoUsd(amount), "by the test"))

    @rule(at=st.integers(0, 1), limits=st.none() | LIMITS)
    def limit(self, at: int, limits: SpendLimits | None) -> None:
        house = self.houses[at]

        def change(connection: Connection) -> None:
            row = update(api_keys).where(api_keys.c.id == "key")
            connection.execute(
                row.values(
                    limit_usd=limits and limits.usd,
                    limit_diem=limits and limits.diem,
                    limit_period=limits.period if limits else "EPOCH",
                )
            )
            house.ledger.relimit(connection, "key", limits)

        self.run(house.database.write(change))
        self.caller = Caller(key_id="key", account_id=ACCOUNT, kind="INFERENCE", limits=limits)

    @rule(hours=st.sampled_from([1, 7, 24, 24 * 31]))
    def time_passes(self, hours: int) -> None:
        for _ in range(2):  # both gateways live: the first to wake buries nobody
            self.clock.move(hours=hours / 2)

    @rule(at=st.integers(0, 1))
    def a_minute_without_the_other(self, at: int) -> None:
        """The other one was only asleep."""
        self.clock.move(seconds=60)
        self.run(self.houses[at].presence.beat())

    @rule(at=st.integers(0, 1))
    def look(self, at: int) -> None:
        """What the ledger does by itself every second."""
        ledger = self.houses[at].ledger
        self.run(_call(ledger._look))  # pyright: ignore[reportPrivateUsage]

    @rule(at=st.integers(0, 1))
    def crash(self, at: int) -> None:
        house = self.houses[at]
        self.open = [entry for entry in self.open if entry[0] != at]
        self.run(drop(house))
        self.houses[at] = self.run(self.opened())

    @invariant()
    def the_books_balance(self) -> None:
        if not self.houses:
            return
        house = self.houses[0]
        assert self.run(house.faults()) == []
        written: dict[str, int] = {}
        for row in self.run(house.rows()):
            written[row.request_id] = written.get(row.request_id, 0) + row.amount
        assert written == self.charged

    def teardown(self) -> None:
        try:
            if self.houses:
                self.clock.move(seconds=120)
                self.run(self.end())
        finally:
            self.loop.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    async def end(self) -> None:
        first, second = self.houses
        for _, charge, _ in self.open:
            charge.void()
        await second.close()
        await first.presence.beat()
        await first.ledger.close()
        assert (await first.wall("funds:acc:USD:"))["leased"] == 0
        assert await first.faults() == []
        await first.presence.close()
        await first.database.close()


class Metered(Money):
    prepaid = False


async def drop(house: House) -> None:
    """The process is gone, as far as the database can tell."""
    house.ledger._loop = None  # pyright: ignore[reportPrivateUsage]
    house.presence._closed = True  # pyright: ignore[reportPrivateUsage]
    for timer in (house.ledger._timer, house.presence._timer):  # pyright: ignore[reportPrivateUsage]
        if timer is not None:
            timer.cancel()
    await house.ledger._journal.close(1)  # pyright: ignore[reportPrivateUsage]
    await house.database.close()


async def _call(work: Any) -> None:
    work()
    await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other gateways are asked, but not waited for: each refusal would take its time, and thousands come."""
    monkeypatch.setattr("fondaco.billing.ledger._RECALL_SECONDS", 0.002)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with an account and a key in it, to begin each schedule from."""
    folder = tmp_path_factory.mktemp("template") / "data"

    async def make() -> None:
        database = Database(folder)
        await database.open()
        await database.write(ensure_account)
        await a_key(database)
        await database.close()

    asyncio.run(make())
    return folder


def check(machine: type[Money], template: Path, **options: Any) -> None:
    class Begun(machine):
        pass

    Begun.template = template
    run_state_machine_as_test(
        Begun,
        settings=settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), **options),
    )


@pytest.mark.parametrize("machine", [Money, Metered])
def test_a_few_random_schedules_break_nothing(machine: type[Money], template: Path) -> None:
    check(machine, template, max_examples=4, stateful_step_count=15)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_thousand_random_schedules_break_nothing(template: Path) -> None:
    seconds = 60 if os.environ.get("FONDACO_TEST_BOUNDED") else 7000
    began, before = time.monotonic(), SCHEDULES["run"]
    while SCHEDULES["run"] - before < 10_000 and time.monotonic() - began < seconds:
        check(Money, template, max_examples=20, stateful_step_count=30)
        check(Metered, template, max_examples=10, stateful_step_count=20)
        print(f"{SCHEDULES['run'] - before} schedules in {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201

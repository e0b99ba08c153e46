"""`fondaco credit`: money by hand, with an entry that says who and why; never more out than is free."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import Connection, select
from typer.testing import CliRunner

from billing_rows import books
from fondaco import money
from fondaco.billing.ledger import Ledger
from fondaco.billing.reports import store
from fondaco.billing.reports.store import Selection
from fondaco.cli import app
from fondaco.clock import SystemClock
from fondaco.keys.caller import Caller
from fondaco.limits.ticket import Ticket
from fondaco.store.presence import Presence
from fondaco.store.schema import accounts
from fondaco.store.sqlite import Database

Run = Callable[..., Result]
Told = tuple[str, str, Decimal, str]

WHO = f" (by {pwd.getpwuid(os.getuid()).pw_name})"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with books(tmp_path / "data") as ledger:
            await ledger.account("default")

    asyncio.run(fill())
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("USER", "LOGNAME"):  # not what a user says of itself
        monkeypatch.setenv(name, "mallory")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["credit", *arguments, "--data-dir", str(data_dir)])

    return run


def entries(data_dir: Path) -> list[Told]:
    """Kind, currency, amount and note of what is in the ledger, oldest first."""

    async def read() -> list[Told]:
        async with books(data_dir) as ledger:
            found = await ledger.database.read(
                lambda connection: store.following(connection, Selection(_owner(connection)), None, 99)
            )
        return [(each.kind, each.currency, Decimal(each.change) / 10**9, each.note) for each in found]

    return asyncio.run(read())


def _owner(connection: Connection) -> str:
    owner: str = connection.execute(select(accounts.c.id)).scalar_one()
    return owner


def test_money_goes_in_and_out_with_who_and_why_and_never_more_than_is_free(run: Run, data_dir: Path) -> None:
    given = run("default", "25.5", "--note", "Invoice 7, März")
    assert (given.exit_code, given.stdout) == (0, "")
    assert given.stderr.startswith("default has 25.5 USD")
    assert run("default", "-0.500000001", "--note", "typo").exit_code == 0
    too_much = run("default", "-25", "--note", "all of it")
    assert (too_much.exit_code, too_much.stdout) == (1, "")
    assert too_much.stderr.startswith("fondaco: Not so much is free")
    assert entries(data_dir) == [
        ("credit", "USD", Decimal("25.5"), f"Invoice 7, März{WHO}"),
        ("debit", "USD", Decimal("-0.500000001"), f"typo{WHO}"),
    ]


def test_it_works_while_a_gateway_runs_on_the_same_database_and_cannot_take_what_is_held(
    run: Run, data_dir: Path
) -> None:
    async def both() -> list[tuple[int, Decimal]]:
        clock = SystemClock()
        database = Database(data_dir)
        await database.open()
        presence = Presence(database, clock)
        ledger = Ledger(database, clock, presence, prepaid=True)
        await presence.open()
        await ledger.open()
        told: list[tuple[int, Decimal]] = []

        async def credit(amount: str) -> None:
            ended = await asyncio.to_thread(run, "default", amount, "--note", "x")
            told.append((ended.exit_code, Decimal((await ledger.balances(owner)).usd) / 10**9))

        try:
            owner = await database.read(_owner)
            await credit("10")
            charge = ledger.charge(Ticket(Caller("key", owner, "INFERENCE"), "request"), "qwen3-4b")
            assert await charge.hold(money.from_decimal("7")) == money.from_decimal("7")
            await credit("-4")
            await credit("-3")
            charge.void()
            await credit("-4")
            return told
        finally:
            await ledger.close()
            await presence.close()
            await database.close()

    assert asyncio.run(both()) == [(0, 10), (1, 10), (0, 7), (0, 3)]


def test_bundled_credits_and_the_daily_diem_are_given_by_name(run: Run, data_dir: Path) -> None:
    assert "2 USD in bundled credits" in run("default", "2", "--currency", "bundled", "--note", "plan").stderr
    assert "3 of 3 DIEM today" in run("default", "3", "--currency", "diem-daily", "--note", "stake").stderr
    assert entries(data_dir)[0] == ("credit", "BUNDLED_CREDITS", Decimal(2), f"plan{WHO}")


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("nobody", "5", "--note", "x"), 1, "There is no account nobody"),
    (("default", "5"), 2, "--note"),
    (("default", "0", "--note", "x"), 2, "amount is zero"),
    (("default", "-0.0", "--note", "x"), 2, "amount is zero"),
    (("default", "five", "--note", "x"), 2, "such as 25 or 0.50"),
    (("default", "1e3", "--note", "x"), 2, "such as 25 or 0.50"),
    (("default", "0.0000000001", "--note", "x"), 2, "such as 25 or 0.50"),
    (("default", "9999999999", "--note", "x"), 2, "such as 25 or 0.50"),
    (("default", "nan", "--note", "x"), 2, "such as 25 or 0.50"),
    (("default", "5", "--note", " "), 2, "A note says why"),
    (("default", "5", "--note", "two\nlines"), 2, "A note says why"),
    (("default", "5", "--note", "x" * 201), 2, "A note has at most"),
    (("default", "-5", "--currency", "diem-daily", "--note", "x"), 2, "not below zero"),
    (("default", "5", "--currency", "eur", "--note", "x"), 2, "eur"),
]


def test_what_makes_no_sense_changes_nothing_and_is_said_without_a_traceback(
    run: Run, data_dir: Path
) -> None:
    for arguments, code, said in REFUSED:
        ended = run(*arguments)
        assert (ended.exit_code, ended.stdout) == (code, ""), arguments
        assert said in ended.stderr, arguments
        assert isinstance(ended.exception, SystemExit)
    assert entries(data_dir) == []

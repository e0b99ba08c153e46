"""`fondaco accounts`, and what `fondaco keys` says of accounts and limits, in this process over a real database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fondaco.cli.accounts import app as accounts_app
from fondaco.cli.keys import app as keys_app
from fondaco.clock import SystemClock
from fondaco.errors import AccessDisabled
from fondaco.keys.caller import Caller, SpendLimits
from fondaco.keys.secret import server_secret
from fondaco.keys.service import KeyService
from fondaco.store.sqlite import Database

Run = Callable[..., Result]


@pytest.fixture
def accounts(tmp_path: Path) -> Run:
    return lambda *words: CliRunner().invoke(accounts_app, [*words, "--data-dir", str(tmp_path / "data")])


@pytest.fixture
def keys(tmp_path: Path) -> Run:
    return lambda *words: CliRunner().invoke(keys_app, [*words, "--data-dir", str(tmp_path / "data")])


def caller_of(token: str, folder: Path) -> Caller:
    async def ask() -> Caller:
        database = Database(folder / "data", create=False)
        await database.open()
        try:
            service = KeyService(database, server_secret(folder / "data"), SystemClock())
            caller = await service.authenticate(token.encode())
            await service.close()
            return caller
        finally:
            await database.close()

    return asyncio.run(ask())


def test_an_account_is_made_listed_suspended_and_resumed(accounts: Run, keys: Run, tmp_path: Path) -> None:
    made = accounts("create", "bob & sons")
    assert made.exit_code == 0, made.output
    account_id = made.stdout.strip()
    assert re.fullmatch(r"[0-9a-f-]{36}", account_id)
    token = keys("create", "--account", "bob & sons").stdout.strip()
    assert caller_of(token, tmp_path).account_id == account_id
    assert re.search(rf"{account_id}  bob & sons  [0-9-]{{10}}  active", accounts("list").stdout)
    assert "bob & sons" in keys("list").stdout
    assert accounts("suspend", "bob & sons").exit_code == 0
    assert re.search(r"bob & sons +[0-9-]{10}  suspended", accounts("list").stdout)
    with pytest.raises(AccessDisabled):
        caller_of(token, tmp_path)
    assert accounts("resume", "bob & sons").exit_code == 0
    assert caller_of(token, tmp_path).account_id == account_id


def test_what_is_wrong_with_an_account_is_said_in_a_line(accounts: Run) -> None:
    assert accounts("create", "bob").exit_code == 0
    for words, code, said in (
        (("create", "bob"), 1, "already"),
        (("create", ""), 2, "1 to 64"),
        (("create", "x" * 65), 2, "1 to 64"),
        (("create", "a\nb"), 2, "1 to 64"),
        (("create", " bob"), 2, "1 to 64"),
        (("suspend", "alice"), 1, "no such account"),
        (("resume", "alice"), 1, "no such account"),
    ):
        ended = accounts(*words)
        assert (ended.exit_code, ended.stdout) == (code, ""), words
        assert said in ended.stderr
        assert ended.stderr.count("\n") == 1
    assert accounts("create", "x" * 64).exit_code == 0


def test_a_key_is_made_with_limits_and_a_policy_and_the_list_shows_them(keys: Run, tmp_path: Path) -> None:
    words = ("--usd-limit", "2.50", "--diem-limit", "0", "--limit-period", "MONTH")
    token = keys("create", *words, "--model-privacy", "PRIVATE_ONLY").stdout.strip()
    caller = caller_of(token, tmp_path)
    assert caller.limits == SpendLimits("MONTH", 2_500_000_000, 0)
    assert caller.model_privacy == "PRIVATE_ONLY"
    assert "2.5 USD, 0 DIEM a month  PRIVATE_ONLY" in keys("list").stdout


@pytest.mark.parametrize("amount", ["-1", "1e3", "abc", "10000000000", "9999999999.1", "1.0000000001", "٣"])
def test_a_limit_that_makes_no_sense_makes_no_key(keys: Run, amount: str) -> None:
    ended = keys("create", "--usd-limit", amount)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "9999999999" in ended.stderr

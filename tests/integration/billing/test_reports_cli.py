"""`fondaco usage`: the ledger as tables and as CSV."""

from __future__ import annotations

import asyncio
import csv
import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from billing_rows import answered, asked, books
from fondaco.cli import app
from fondaco.money import from_decimal

Run = Callable[..., Result]

FONDACO = "import sys; sys.argv[0] = 'fondaco'; from fondaco.__main__ import main; main()"
NOW = datetime.now(UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path) -> Run:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--data-dir", str(data_dir)])

    return run


@pytest.fixture
def key(data_dir: Path) -> str:
    async def fill() -> str:
        async with books(data_dir) as ledger:
            default, other = await ledger.account("default"), await ledger.account("other")
            made = await ledger.key(default, "for \x1b[31mtests")
            await ledger.move(default, "credit", from_decimal("5"), at=NOW, note="=Rechnung für März")
            await ledger.use(default, asked(1_000_000), answered(412), at=NOW, key=made)
            await ledger.use(default, asked(1000), at=NOW - timedelta(days=2), key=made, currency="DIEM")
            await ledger.use(default, asked(7), at=NOW - timedelta(days=8), key=made, model="long-ago")
            await ledger.use(other, asked(10**9), at=NOW, model="theirs", request=None)
            return made

    return asyncio.run(fill())


def test_usage_shows_days_models_and_keys_as_tables(run: Run, key: str) -> None:
    shown = run("usage")
    assert (shown.exit_code, shown.stderr) == (0, "")
    days, models, keys = ([line.split() for line in part.splitlines()] for part in shown.stdout.split("\n\n"))
    assert days == [
        ["DAY", "USD", "DIEM"],
        [f"{NOW - timedelta(days=2):%Y-%m-%d}", "0", "0.00005"],
        [f"{NOW:%Y-%m-%d}", "0.0500618", "0"],
        ["all", "0.0500618", "0.00005"],
    ]
    assert models[1:] == [["qwen3-4b", "tokens", "1001412", "0.0500618", "0.00005"]]
    assert keys[1:] == [[key, "for", "�[31mtests", "0.0500618", "0.00005"]]
    assert "\x1b" not in shown.stdout


def test_usage_as_csv_is_every_entry_of_those_days_in_utf_8_whatever_the_locale(
    data_dir: Path, key: str
) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", FONDACO, "usage", "--csv", "--days", "9", "--data-dir", str(data_dir)],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": ":".join(sys.path), "LC_ALL": "C"},
    )
    assert (shown.returncode, shown.stderr) == (0, b"")
    rows = list(csv.DictReader(io.StringIO(shown.stdout.decode(), newline="")))
    assert [row["sku"] for row in rows] == [
        "qwen3-4b-llm-input-mtoken",
        "qwen3-4b-llm-input-mtoken",
        "account-credit",
        "qwen3-4b-llm-input-mtoken",
        "qwen3-4b-llm-output-mtoken",
    ]
    assert rows[2]["notes"] == "'=Rechnung für März"
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal("5") - Decimal("0.05011215")


def test_usage_without_any_or_of_nobody_is_told_in_a_line(run: Run, key: str) -> None:
    assert "theirs" in run("usage", "--account", "other", "--days", "1").stdout
    nobody = run("usage", "--account", "nobo\x1bdy")
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    assert nobody.stderr.startswith("fondaco: There is no account nobo�dy.")


def test_what_usage_cannot_do_is_said_without_a_traceback(run: Run, data_dir: Path) -> None:
    assert run("usage").stderr.count("\n") == 1
    for days in ("0", "367", "x"):
        refused = run("usage", "--days", days)
        assert refused.exit_code == 2
        assert "Traceback" not in refused.stderr

    async def empty() -> None:
        async with books(data_dir) as ledger:
            await ledger.account("default")

    asyncio.run(empty())
    nothing = run("usage")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr.startswith("Nothing was used from ")
    assert run("usage", "--csv").stdout.count("\n") == 1

"""`fondaco keys`, run as people run it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fondaco.clock import SystemClock
from fondaco.errors import AuthenticationFailed
from fondaco.keys.secret import server_secret
from fondaco.keys.service import Caller, KeyService
from fondaco.store.sqlite import Database

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, tmp_path: Path) -> Run:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from fondaco.cli.keys import app; app()",
                *arguments,
                "--data-dir",
                str(data_dir),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=60,
        )

    return run


def caller_of(token: str, data_dir: Path) -> Caller | None:
    async def ask() -> Caller | None:
        database = Database(data_dir, create=False)
        await database.open()
        try:
            return await KeyService(database, server_secret(data_dir), SystemClock()).authenticate(
                token.encode()
            )
        except AuthenticationFailed:
            return None
        finally:
            await database.close()

    return asyncio.run(ask())


@pytest.mark.long
def test_create_prints_the_key_alone_and_it_works_until_it_is_revoked(run: Run, data_dir: Path) -> None:
    made = run("create", "--description", "for the \x1b[31mtests")
    token = made.stdout.removesuffix("\n")
    assert re.fullmatch(r"VENICE_INFERENCE_KEY_[\w-]{43}", token)
    assert token not in made.stderr
    caller = caller_of(token, data_dir)
    assert caller is not None
    assert caller.kind == "INFERENCE"

    table = run("list").stdout
    assert all(
        text in table for text in (caller.key_id, "INFERENCE", token[-6:], "never", "for the �[31mtests")
    )
    assert token not in table
    assert "\x1b" not in table

    assert run("revoke", token[-6:]).returncode == 0
    assert caller_of(token, data_dir) is None
    assert "no keys" in run("list").stderr


@pytest.mark.long
def test_create_takes_kind_expiry_and_account(run: Run, data_dir: Path) -> None:
    own = run("create").stdout.strip()
    made = run("create", "--admin", "--expires", "2199-12-31", "--account", "bob")
    caller, other = caller_of(made.stdout.strip(), data_dir), caller_of(own, data_dir)
    assert caller is not None
    assert other is not None
    assert caller.kind == "ADMIN"
    assert caller.account_id != other.account_id
    assert "2199-12-31" in run("list").stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("list",), 1, "no database"),
        (("revoke", "abcdef"), 1, "no database"),
        (("create", "--expires", "2020-01-01"), 2, "must be in the future"),
        (("create", "--expires", "tomorrow"), 2, "tomorrow"),
        (("create", "--description", "x" * 65), 2, "at most 64"),
        (("create", "--account", ""), 2, "1 to 64"),
        (("create", "--config", "nowhere.toml"), 2, "nowhere.toml"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    run: Run, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended = run(*arguments)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.long
def test_revoking_what_is_not_there_exits_with_1_also_if_it_looks_like_an_option(run: Run) -> None:
    run("create")
    for name in ("abcdef", "-x9_Qa"):
        ended = run("revoke", name)
        assert ended.returncode == 1
        assert "There is no such key" in ended.stderr


def test_a_damaged_database_is_one_sentence(run: Run, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "fondaco.db").write_bytes(b"not a database at all" * 100)
    ended = run("list")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "restore it from a backup" in ended.stderr

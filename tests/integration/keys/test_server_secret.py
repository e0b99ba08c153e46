from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fondaco.keys.secret import SecretDamaged, server_secret

PRINT_SECRET = (
    "import sys; from pathlib import Path; from fondaco.keys.secret import server_secret\n"
    "print(end='ready\\n', flush=True); sys.stdin.readline()\n"
    "print(server_secret(Path(sys.argv[1])).hex())"
)


def test_it_is_made_once_and_read_from_then_on(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    made = server_secret(data_dir)
    assert len(made) == 32
    assert server_secret(data_dir) == made
    assert server_secret(tmp_path / "other") != made


def test_it_is_the_owners_alone_and_leaves_no_draft(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    server_secret(data_dir)
    assert [path.name for path in data_dir.iterdir()] == ["secret.key"]
    assert stat.S_IMODE((data_dir / "secret.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    (data_dir / "secret.key").chmod(0o644)
    server_secret(data_dir)
    assert stat.S_IMODE((data_dir / "secret.key").stat().st_mode) == 0o600


def test_a_cut_file_is_said_to_be_damaged_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(SecretDamaged, match="restore it from a backup"):
        server_secret(tmp_path)
    assert (tmp_path / "secret.key").read_bytes() == b"short"


def test_who_comes_second_by_a_hair_takes_the_secret_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = b"r" * 32

    def overtaken(_: int) -> None:
        monkeypatch.undo()
        (tmp_path / "secret.key").write_bytes(rival)

    monkeypatch.setattr(os, "fsync", overtaken)
    assert server_secret(tmp_path) == rival
    assert (tmp_path / "secret.key").read_bytes() == rival


@pytest.mark.anyio
async def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PRINT_SECRET,
            str(tmp_path / "data"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"
    told = await asyncio.gather(*(child.communicate(b"\n") for child in children))
    assert {out.strip().decode() for out, _ in told} == {server_secret(tmp_path / "data").hex()}

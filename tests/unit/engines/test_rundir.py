"""The folder where a gateway meets its engines, and the process it starts there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fondaco.clock import SystemClock
from fondaco.engines.backoff import BackOff
from fondaco.engines.child import environment
from fondaco.engines.launch import Launch
from fondaco.engines.rundir import LONGEST_SOCKET_PATH, RunDir


def test_only_one_holds_it_and_the_next_can_when_it_is_released(tmp_path: Path) -> None:
    first, second = RunDir(tmp_path / "run"), RunDir(tmp_path / "run")
    assert first.hold()
    assert not second.hold()
    first.release()
    assert second.hold()
    second.release()


def test_it_is_closed_to_others_even_if_it_was_not_before(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    held = RunDir(folder)
    held.hold()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    held.release()


def test_what_a_dead_holder_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "e-0123456789abcdef.sock").touch()
    (tmp_path / "share.sock").touch()
    (tmp_path / "mine.txt").touch()
    held = RunDir(tmp_path)
    held.hold()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lock", "mine.txt"]
    held.release()


def test_sockets_of_a_deep_folder_lie_elsewhere_and_others_find_them(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 80) / ("y" * 80)
    held, other = RunDir(deep), RunDir(deep)
    held.hold()
    path = Path(held.new_socket() or "")
    assert len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not other.hold()
    assert other.sharing_socket() == held.sharing_socket()
    held.release()
    assert not path.parent.exists()


def test_a_pointer_to_a_folder_not_ours_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sockets-at").write_text(str(victim))
    held = RunDir(tmp_path / "run")
    held.hold()
    assert victim.is_dir()
    held.release()


def test_no_socket_path_is_given_twice(tmp_path: Path) -> None:
    held = RunDir(tmp_path)
    held.hold()
    assert len({held.new_socket() for _ in range(50)}) == 50
    held.release()


def test_an_engine_sees_no_setting_and_no_credential_of_ours() -> None:
    given = {"PATH": "/bin", "LC_ALL": "C", "FONDACO_ADMIN_KEY": "s", "OPENAI_API_KEY": "s", "HF_TOKEN": "s"}
    assert environment(given) == {"PATH": "/bin", "LC_ALL": "C", "OMP_WAIT_POLICY": "passive"}


def test_the_engines_key_is_not_in_a_repr() -> None:
    assert "secret" not in repr(Launch(model="m", key="secret", context_tokens=1, slots=1, threads=1))


def test_each_failure_doubles_the_wait_up_to_half_a_minute() -> None:
    class Stopped(SystemClock):
        def monotonic(self) -> float:
            return 100.0

    backoff, waits = BackOff(Stopped()), list[float]()
    for _ in range(8):
        backoff.failed()
        waits.append(backoff.left)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30]
    backoff.reset()
    assert backoff.left == pytest.approx(0)

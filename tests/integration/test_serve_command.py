"""`fondaco serve` as its owner meets it: the first start and the keys."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_engines import Answer, FakeEngine, Seen, binding, stream, whole
from gateways import ADMIN_KEY, Gateway, running

KEY = re.compile(r"VENICE_(?:ADMIN|INFERENCE)_KEY_[\w-]{43}")


def greeting(seen: Seen) -> Answer:
    if seen.body.get("stream"):
        return Answer([stream({"content": "Hello"})])
    return Answer([whole({"content": "Hello"})], content_type="application/json")


@pytest.fixture(scope="module")
def config() -> Iterator[str]:
    engine = FakeEngine(greeting)
    yield '[models]\ndefault = "mine"\n' + binding("mine", engine)
    engine.close()


@pytest.fixture(scope="module")
def gateway(config: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("serve"), config=config) as made:
        yield made


def fondaco(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FONDACO_")}
    command = [sys.executable, "-m", "fondaco", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env=environment | env
    )


def chat(root: str, key: str) -> int:
    body = json.dumps({"model": "default", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(root + "/api/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


class Terminal:
    """`fondaco serve` on a terminal of its own."""

    def __init__(self, folder: Path, config: str, columns: int) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "fondaco.toml").write_text(config)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FONDACO_")}
        environment |= {"TERM": "xterm", "COLUMNS": str(columns)}
        ours, theirs = pty.openpty()
        command = [
            sys.executable,
            "-m",
            "fondaco",
            "serve",
            "--port",
            "0",
            "--data-dir",
            str(folder / "data"),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self._screen = ours
        self.seen = ""

    def read_for(self, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            readable, _, _ = select.select([self._screen], [], [], left)
            try:
                piece = os.read(self._screen, 65536) if readable else b""
            except OSError:  # the other end is closed
                break
            if piece:
                self.seen += piece.decode().replace("\r\n", "\n")
        return self.seen

    def read_until(self, wanted: str, seconds: float = 30) -> str:
        deadline = time.monotonic() + seconds
        while not re.search(wanted, self.seen):
            assert time.monotonic() < deadline, self.seen
            self.read_for(0.1)
        return self.seen

    def close(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(20)
        os.close(self._screen)
        return status


@contextlib.contextmanager
def on_a_terminal(folder: Path, config: str, columns: int = 400) -> Iterator[Terminal]:
    terminal = Terminal(folder, config, columns)
    try:
        yield terminal
    finally:
        terminal.close()


@pytest.mark.long
def test_on_a_terminal_the_first_keys_are_shown_once_with_examples_that_work(
    tmp_path: Path, config: str
) -> None:
    with on_a_terminal(tmp_path, config) as first:
        shown = first.read_until(r"answer\.choices\[0\]")
        keys = set(KEY.findall(shown))
        assert len(keys) == 2
        admin = next(key for key in keys if "ADMIN" in key)
        inference = next(key for key in keys if "INFERENCE" in key)
        (root,) = set(re.findall(r"(http://127\.0\.0\.1:\d+)/api/v1", shown))
        assert chat(root, inference) == 200
        assert chat(root, admin) == 200

        curl = re.search(r"^  curl (?:.*\\\n)*.*", shown, re.MULTILINE)
        assert curl is not None
        said = subprocess.run(
            ["bash", "-c", curl[0] + " --silent"], capture_output=True, check=True, timeout=30
        )
        assert json.loads(said.stdout)["choices"][0]["message"]["content"] == "Hello"

        program = shown[shown.index("  from openai import OpenAI") :]
        lines = [line[2:] for line in program.splitlines() if line.startswith("  ")]
        ran = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, timeout=60
        )
        assert ran.stdout == "Hello\n"

    with on_a_terminal(tmp_path, config) as second:
        second.read_until("listens on")
        second.read_for(0.5)
        assert KEY.findall(second.seen) == []
        assert "Your keys" not in second.seen
        (root,) = set(re.findall(r"(http://127\.0\.0\.1:\d+)/api/v1", second.seen))
        assert chat(root, inference) == 200


@pytest.mark.long
def test_no_line_of_the_examples_is_broken_on_a_narrow_terminal(tmp_path: Path, config: str) -> None:
    with on_a_terminal(tmp_path, config, columns=80) as first:
        first.read_until(r"answer\.choices")
        first.read_for(0.3)
        for whole_line in (
            '"Content-Type: application/json"',
            'messages=[{"role": "user", "content": "Hello"}])',
        ):
            assert any(whole_line in line for line in first.seen.splitlines()), first.seen


@pytest.mark.long
def test_off_a_terminal_no_key_is_printed_but_how_to_make_one(tmp_path: Path, config: str) -> None:
    with running(tmp_path, config=config, env={"FONDACO_ADMIN_KEY": ""}) as gateway:
        deadline = time.monotonic() + 10
        while "fondaco keys create" not in gateway.output:
            assert time.monotonic() < deadline, gateway.output
            time.sleep(0.05)
        assert KEY.search(gateway.output) is None
        listed = fondaco("keys", "list", "--data-dir", str(gateway.data_dir)).stdout
        assert listed.count("ADMIN") == 1
        assert listed.count("INFERENCE") == 1


def test_with_an_admin_key_of_the_owners_none_is_made_or_shown(gateway: Gateway) -> None:
    assert chat(gateway.root, ADMIN_KEY) == 200
    assert KEY.search(gateway.output) is None
    assert ADMIN_KEY not in gateway.output
    assert "keys create" not in gateway.output
    listed = fondaco("keys", "list", "--data-dir", str(gateway.data_dir)).stdout
    assert re.findall(r"\b(?:ADMIN|INFERENCE)\b", listed) == ["ADMIN"]


def test_a_key_made_on_the_command_line_works_at_once_until_it_is_revoked(gateway: Gateway) -> None:
    made = fondaco("keys", "create", "--data-dir", str(gateway.data_dir))
    key = made.stdout.strip()
    assert KEY.fullmatch(key)
    assert chat(gateway.root, key) == 200
    fondaco("keys", "revoke", key[-6:], "--data-dir", str(gateway.data_dir))
    revoked = time.monotonic()
    while chat(gateway.root, key) != 401:
        assert time.monotonic() - revoked < 1
    # Also a key that the server has refused before it was made: it never saw this one.
    assert chat(gateway.root, "VENICE_INFERENCE_KEY_" + "x" * 43) == 401


def test_a_wrong_key_is_refused_however_often_it_comes(gateway: Gateway) -> None:
    assert {chat(gateway.root, "wrong-key-of-nobody") for _ in range(3)} == {401}

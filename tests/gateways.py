"""A real gateway for tests: `fondaco serve` as a process of its own, on a free port and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

ADMIN_KEY = "admin-key-for-tests-0123456789"
TINY = "smollm2-135m-instruct"
CODER = "qwen2.5-coder-0.5b-instruct"

_LISTENS = re.compile(r"listens on (http://\S+)/api/v1")


class Gateway:
    """A running server. `output` is all it printed so far, logs and all."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, log: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.log = log
        self.root = ""
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def base_url(self) -> str:
        return self.root + "/api/v1"

    @property
    def output(self) -> str:
        return "".join(self._lines) + (self.log.read_text() if self.log.exists() else "")

    def wait_listening(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := _LISTENS.search("".join(self._lines)):
                self.root = found[1]
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the gateway does not listen:\n{self.output}")

    def wait_ready(self, seconds: float = 180) -> None:
        """Until the default model can answer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(urllib.error.URLError, ConnectionError),
                urllib.request.urlopen(self.root + "/readyz", timeout=5) as answer,
            ):
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the default model does not become ready:\n{self.output}")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(seconds)
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self.process.stdout:
                self._lines.append(line)


@contextlib.contextmanager
def running(
    folder: Path,
    *options: str,
    config: str = "",
    env: Mapping[str, str] | None = None,
    data_dir: Path | None = None,
) -> Iterator[Gateway]:
    """`fondaco serve` with `config` as its fondaco.toml; stopped, and waited for, at the end.

    `data_dir` is for one that shares another's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data_dir = data_dir or folder / "data"
    file = folder / "fondaco.toml"
    file.write_text(config)
    log = folder / "stderr.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FONDACO_")}
    environment |= {"FONDACO_ADMIN_KEY": ADMIN_KEY, "PYTHONUNBUFFERED": "1", **(env or {})}
    command = [sys.executable, "-m", "fondaco", "serve", "--port", "0"]
    command += ["--data-dir", str(data_dir), "--config", str(file), *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=folder
        )
    gateway = Gateway(process, data_dir, log)
    try:
        gateway.wait_listening()
        yield gateway
    finally:
        if process.poll() is None:
            try:
                gateway.stop()
            except subprocess.TimeoutExpired:
                gateway.stop(signal.SIGKILL)

"""Processes that a benchmark starts: on a given core, measured as whole trees, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class NotReadyError(RuntimeError):
    """A server ended, or did not answer in time."""


@dataclass(frozen=True)
class Cores:
    """Where things run: the measured server alone on one core, upstream and load on another."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """Raises NotReadyError on a machine of one core, where load and server would measure each other."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2 or shutil.which("taskset") is None:
            raise NotReadyError("two cores and the command `taskset` are needed")
        return cls(server=usable[0], load=usable[-1])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    return ["taskset", "-c", str(core), *command]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def allow_many_files() -> None:
    """500 streams are 1,000 sockets in a proxy: let every child open as many as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    stop_seconds: float = 15,
) -> Generator[subprocess.Popen[bytes]]:
    """Run a server with its output in `log`; at the end SIGTERM, and SIGKILL for what is left of its group."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(stop_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(
    process: subprocess.Popen[bytes], url: str, log: Path, seconds: float = 30, pause: float = 0.05
) -> None:
    """Return when `url` answers 200. Raises NotReadyError with the log's end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if _answers(url):
            return
        time.sleep(pause)
    tail = log.read_text(errors="replace")[-1500:]
    raise NotReadyError(f"{url} did not answer; the server's last words:\n{tail}")


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_seconds(root: int) -> float:
    """CPU time of the tree so far, with children that have ended and been waited for."""
    ticks = 0
    for pid in tree(root):
        if fields := _stat(pid):
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / _TICKS_PER_SECOND


def resident_mib(root: int, *, descendants: bool = True) -> float:
    pages = 0
    for pid in tree(root) if descendants else [root]:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * _PAGE_BYTES / 2**20


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:  # refused, reset, or a status that urllib takes for an error
        return False


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; the second, a name, may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None

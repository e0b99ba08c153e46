"""What every engine's process does beside serving: it takes its orders on stdin and goes when its gateway does.

Its configuration is the first line of stdin, and it ends when stdin does, which is how it goes when its gateway is
killed. While weights load, a runtime may hold the interpreter's lock and nothing here can run; on Linux the kernel
ends the process even then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec

from fondaco.engines.launch import Launch, Said, encode

_PR_SET_PDEATHSIG = 1


class Process:
    """This process, as an engine of the gateway that started it."""

    def __init__(self, launch: Launch, report: BinaryIO) -> None:
        self.launch = launch
        self._report = report

    @classmethod
    def begin(cls) -> Process:
        """Bind this process's life to its gateway's and read what it is to do. Ends it when nobody says."""
        parent = os.getppid()
        _die_with_parent(parent)
        _harden()
        report = _own_stdout()
        line = sys.stdin.buffer.readline()
        if not line:
            os._exit(0)
        launch = msgspec.json.decode(line, type=Launch)
        threading.Thread(target=_watch_gateway, args=(sys.stdin.buffer,), daemon=True).start()
        # OpenMP's busy waiting makes shared cores several times slower; it is read when a runtime is loaded.
        os.environ["OMP_WAIT_POLICY"] = "passive"
        return cls(launch, report)

    def listening(self, port: int) -> None:
        """Say that it can be asked now; on `port` where it has no Unix socket."""
        self._say(Said(event="listening", port=port))

    def no_runtime(self) -> NoReturn:
        """End: what this engine runs on is not installed."""
        self._say(Said(event="no_runtime"))
        os._exit(3)

    def load_failed(self) -> NoReturn:
        """End: the weights could not be read."""
        self._say(Said(event="load_failed"))
        os._exit(4)

    def _say(self, said: Said) -> None:
        self._report.write(encode(said))
        self._report.flush()


def _die_with_parent(parent: int) -> None:
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it went before we asked to be told
        os._exit(0)


def _harden() -> None:
    """Sockets for us alone; no core dump, which would hold prompts; and the first to go when memory runs out."""
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _own_stdout() -> BinaryIO:
    """A private handle on stdout; whatever else in the process prints there goes to stderr."""
    sys.stdout.flush()
    report = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return report


def _watch_gateway(stdin: BinaryIO) -> None:
    while stdin.read(4096):
        pass
    os._exit(0)

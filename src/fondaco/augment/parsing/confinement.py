"""Takes from this process what a parser does not need. What the system cannot do is left out."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from fondaco.augment.parsing.wire import Limits

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_FILES = 64


def leave_the_network() -> None:
    """On Linux, where users may have namespaces: there is no network any more for this process and its children."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def limit(limits: Limits) -> None:
    """For good: memory, CPU time and open files; no file can be written, no process or thread begun, no core dumped."""
    import resource

    spare = limits.memory_bytes + _own_memory()
    for which, most in (
        ("RLIMIT_AS", spare),
        ("RLIMIT_CPU", limits.cpu_seconds),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", _FILES),
    ):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            resource.setrlimit(getattr(resource, which), (most, most))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # The kernel ends it, whatever a library in C is at.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.seconds)


def _own_memory() -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 1 << 30

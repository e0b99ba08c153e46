"""What this machine, or the container we are in, lets us use."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def cores(cgroup: Path = _CGROUP) -> int:
    """Cores that we may use: the process's affinity, cut to the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read(cgroup / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit():
        allowed = min(allowed, max(1, int(quota[0]) // int(quota[1])))
    return max(1, allowed)


def available_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes that can be taken without swapping, cut to what the container's limit leaves."""
    available = psutil.virtual_memory().available
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        reclaimable = sum(
            int(value)
            for name, _, value in (line.partition(" ") for line in _read(cgroup / "memory.stat").splitlines())
            if name in ("inactive_file", "active_file") and value.isdigit()
        )
        available = min(available, int(limit) - int(used) + reclaimable)
    return max(0, available)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""

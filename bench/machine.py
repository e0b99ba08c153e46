"""Facts about the machine and the run, without which a figure means little."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


def facts() -> dict[str, str]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load average at start": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def first_line(command: Sequence[str]) -> str:
    """What a command says of itself; empty when it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = (done.stdout + done.stderr).strip()
    return said.splitlines()[0] if said and done.returncode == 0 else ""


@dataclass
class Bystanders:
    """How much of the machine others used while we measured: made before, read after our children have ended."""

    busy_before: float
    ours_before: float
    began: float

    @classmethod
    def watch(cls) -> Bystanders:
        return cls(_busy_seconds(), _our_seconds(), time.monotonic())

    def share(self) -> float:
        """Of all cores' time, the part that was neither idle nor ours: 0 on a quiet machine."""
        others = (_busy_seconds() - self.busy_before) - (_our_seconds() - self.ours_before)
        return max(0.0, others / ((time.monotonic() - self.began) * (os.cpu_count() or 1)))


def _busy_seconds() -> float:
    user, nice, system, _idle, _wait, irq, softirq, steal = (
        int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"

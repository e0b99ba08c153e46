"""`python -m bench.footprint`: start, idle memory, `--version`, and disk."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import machine
from bench.gateway import FondacoCommand, serve
from bench.process import NotReadyError, resident_mib
from bench.report import facts_text, median, save, table, verdict

MAX_READY_SECONDS, MAX_IDLE_MIB, MAX_VERSION_SECONDS, MAX_DISK_GB = 2.0, 150.0, 0.5, 1.2
OFFLINE = "[weights]\noffline = true\n"


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    command = FondacoCommand.of(options.python, options.fondaco)
    facts = machine.facts() | {"python": machine.first_line([options.python, "--version"])}
    try:
        starts = [_start(command, options.settle) for _ in range(options.rounds)]
        versions = [_version_seconds(command) for _ in range(options.rounds)]
    except (NotReadyError, subprocess.CalledProcessError) as error:
        print(f"bench.footprint: {error}", file=sys.stderr)
        return 1
    ready, idle, version = (
        median([start[0] for start in starts]),
        median([start[1] for start in starts]),
        median(versions),
    )
    environment, weights = _environment_of(options.python), options.cache_dir
    environment_gb, weights_gb = _disk_gb(environment), _disk_gb(weights)
    disk = environment_gb + weights_gb
    rows = [
        ["process start to /healthz, s", f"{ready:.2f}", f"{max(start[0] for start in starts):.2f}"],
        ["idle gateway, MiB", f"{idle:.0f}", f"{max(start[1] for start in starts):.0f}"],
        ["fondaco --version, s", f"{version:.2f}", f"{max(versions):.2f}"],
        [f"environment {environment}, GB", f"{environment_gb:.2f}", ""],
        [f"weights {weights}, GB", f"{weights_gb:.2f}", ""],
    ]
    verdicts = [
        verdict(f"/healthz within {MAX_READY_SECONDS:g} s", ready <= MAX_READY_SECONDS, f"{ready:.2f} s"),
        verdict(f"idle gateway at most {MAX_IDLE_MIB:g} MiB", idle <= MAX_IDLE_MIB, f"{idle:.0f} MiB"),
        verdict(
            f"--version within {MAX_VERSION_SECONDS:g} s", version <= MAX_VERSION_SECONDS, f"{version:.2f} s"
        ),
        verdict(f"disk at most {MAX_DISK_GB:g} GB", disk <= MAX_DISK_GB, f"{disk:.2f} GB"),
    ]
    print(facts_text(facts), table(["", "median", "worst"], rows), "\n".join(verdicts), sep="\n\n")
    result = {
        "facts": facts,
        "verdicts": verdicts,
        "ready_seconds": [start[0] for start in starts],
        "idle_mib": [start[1] for start in starts],
        "version_seconds": versions,
        "environment_gb": environment_gb,
        "weights_gb": weights_gb,
    }
    print(f"\nall figures: {save('footprint', result)}")
    return 0


def _start(command: FondacoCommand, settle: float) -> tuple[float, float]:
    """Seconds until /healthz answers, and the resident MiB of the gateway without its children after `settle`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        began = time.perf_counter()
        with serve(command, Path(name), OFFLINE, pause=0.01) as gateway:
            ready = time.perf_counter() - began
            time.sleep(settle)
            return ready, resident_mib(gateway.process.pid, descendants=False)


def _version_seconds(command: FondacoCommand) -> float:
    began = time.perf_counter()
    subprocess.run(
        [*command.words, "--version"],
        env={**os.environ, **dict(command.env)},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - began


def _environment_of(python: str) -> Path:
    asked = subprocess.run(
        [python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True
    )
    return Path(asked.stdout.strip())


def _disk_gb(folder: Path) -> float:
    """Blocks really taken, a file with several names counted once."""
    seen: set[tuple[int, int]] = set()
    blocks = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        facts = path.lstat()
        if (facts.st_dev, facts.st_ino) not in seen:
            seen.add((facts.st_dev, facts.st_ino))
            blocks += facts.st_blocks
    return blocks * 512 / 1e9


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.footprint", description=__doc__)
    add = parser.add_argument
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fondaco"
    add("--rounds", type=int, default=5, help="starts, of which medians are taken")
    add("--settle", type=float, default=5, help="seconds between /healthz and the look at the memory")
    add("--cache-dir", type=Path, default=cache, help="where the weights are")
    add("--python", default=sys.executable, help="interpreter that runs fondaco; its environment is weighed")
    add("--fondaco", metavar="COMMAND", help="command that stands for `fondaco`, instead of --python")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench.admission`: the CPU time that auth, limits, hold and settle add to a request."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import machine
from bench.gateway import SOURCE
from bench.process import Cores, NotReadyError, pinned
from bench.report import facts_text, median, save, table, verdict

MAX_ADDED_US = 25.0
WALLS = {
    "none": "metered, a key without limits: only the settlement is written",
    "key": "metered, a key with a spending limit",
    "prepaid": "prepaid, from the account's balance",
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        core = Cores.choose().server
    except NotReadyError as error:
        print(f"bench.admission: {error}", file=sys.stderr)
        return 1
    bystanders = machine.Bystanders.watch()
    found: dict[str, list[float]] = {wall: [] for wall in WALLS}
    together: dict[str, list[float]] = {wall: [] for wall in WALLS}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        for wall in WALLS:
            said = _run(options, core, wall)
            found[wall].append(said["admitted_us"] - said["bare_us"])
            together[wall].append(options.requests / max(1, said["commits"]))
    facts = machine.facts() | {
        "requests in flight": str(options.in_flight),
        "database": "SQLite, synchronous=FULL",
        "used by others meanwhile": f"{bystanders.share():.0%} of the machine",
    }
    print(facts_text(facts), end="\n\n")
    rows = [
        [
            wall,
            f"{median(each):.1f}",
            f"{min(each):.1f}-{max(each):.1f}",
            f"{median(together[wall]):.0f}",
            WALLS[wall],
        ]
        for wall, each in found.items()
    ]
    print(table(["wall", "CPU us added", "range", "requests a commit", "what"], rows), end="\n\n")
    verdicts = [
        verdict(
            f"at most {MAX_ADDED_US:.0f} us with wall '{wall}'",
            median(each) <= MAX_ADDED_US,
            f"{median(each):.1f}",
        )
        for wall, each in found.items()
    ]
    print("\n".join(verdicts))
    path = save("admission", {"facts": facts, "added_us": found, "verdicts": verdicts})
    print(f"\nall figures: {path}")
    return 0


def _run(options: argparse.Namespace, core: int, wall: str) -> dict[str, float]:
    root = Path(__file__).parent.parent.parent
    with tempfile.TemporaryDirectory(prefix="bench-admission-") as folder:
        words = [
            *(options.python, str(Path(__file__).with_name("work.py")), folder),
            *(str(options.requests), str(options.in_flight), wall),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(root)])}
        done = subprocess.run(
            pinned(core, words), env=environment, capture_output=True, text=True, check=True, timeout=300
        )
    return json.loads(done.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.admission", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=16_000, help="in each round")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that is measured")
    return parser


if __name__ == "__main__":
    sys.exit(main())

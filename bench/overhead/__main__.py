"""`python -m bench.overhead`: all servers up at once, measured in turn, round after round, in one run."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import machine
from bench.gateway import FondacoCommand
from bench.overhead import compile as programs
from bench.overhead import contenders, summary, workloads
from bench.overhead.contenders import AbsentError, Contender, Setup
from bench.overhead.workloads import WORKLOADS, Measurement, WrongAnswerError, measure
from bench.process import Cores, NotReadyError, allow_many_files, resident_mib
from bench.report import facts_text, save

EXIT_VOID = 3
WARM_UP_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        built = programs.build()
        cores = Cores.choose()
    except (programs.NoCompilerError, NotReadyError) as error:
        print(f"bench.overhead: {error}", file=sys.stderr)
        return 1
    allow_many_files()
    facts = machine.facts() | {
        "python": machine.first_line([options.python, "--version"]),
        "compiler": machine.first_line([programs.compiler() or "cc", "--version"]),
        "rounds": f"{options.rounds} of {options.seconds:g} s a workload and server",
    }
    bystanders = machine.Bystanders.watch()
    try:
        rounds, memory, versions = _run(options, built, cores)
    except WrongAnswerError as error:
        print(f"bench.overhead: this run is void, an answer was wrong.\n{error}", file=sys.stderr)
        return EXIT_VOID
    except NotReadyError as error:
        print(f"bench.overhead: {error}", file=sys.stderr)
        return 1
    facts |= versions | {"used by others meanwhile": f"{bystanders.share():.0%} of the machine"}
    verdicts = summary.verdicts(rounds)
    print(facts_text(facts), summary.text(rounds, memory), "\n".join(verdicts), sep="\n\n")
    path = save(
        "overhead",
        {
            "facts": facts,
            "memory_mib": {name: {"idle": idle, "after": after} for name, (idle, after) in memory.items()},
            "verdicts": verdicts,
            "rounds": {
                workload: {server: [_as_json(run) for run in runs] for server, runs in found.items()}
                for workload, found in rounds.items()
            },
        },
    )
    print(f"\nall figures: {path}")
    return 0


def _run(
    options: argparse.Namespace, built: Path, cores: Cores
) -> tuple[dict[str, dict[str, list[Measurement]]], dict[str, tuple[float, float]], dict[str, str]]:
    """Start everything, measure, stop everything. Raises WrongAnswerError and NotReadyError."""
    chosen = [WORKLOADS[name] for name in options.only]
    versions: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        port, pid = stack.enter_context(
            contenders.mock_upstream(
                built / "mock",
                folder,
                cores.load,
                workloads.PACED_TOKENS,
                workloads.INTERVAL_MS,
                workloads.BURST_TOKENS,
            )
        )
        command = FondacoCommand.of(options.python, options.fondaco)
        setup = Setup(folder, cores, port, pid, command, options.vllm_router_python)
        servers: list[Contender] = []
        for name in options.servers:
            try:
                servers.append(stack.enter_context(contenders.STARTERS[name](setup)))
                versions[name] = servers[-1].version
            except AbsentError as absent:
                versions[name] = f"absent: {absent}"

        idle = {server.name: resident_mib(server.pid) for server in servers}
        for workload in chosen:  # connections, caches and byte-code are made before anything is timed
            if workload.requests == 0:
                for server in servers:
                    measure(built / "load", workload, server, WARM_UP_SECONDS, cores.load)
        rounds: dict[str, dict[str, list[Measurement]]] = {
            workload.name: {server.name: [] for server in servers} for workload in chosen
        }
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            for workload in chosen:
                # Each round begins with another server, so that none always comes first.
                turn = number % len(servers)
                for server in servers[turn:] + servers[:turn]:
                    found = measure(built / "load", workload, server, options.seconds, cores.load)
                    rounds[workload.name][server.name].append(found)
        memory = {server.name: (idle[server.name], resident_mib(server.pid)) for server in servers}
    return rounds, memory, versions


def _as_json(run: Measurement) -> dict[str, object]:
    return {
        **asdict(run),
        "answers_per_cpu_second": run.answers_per_cpu_second,
        "tokens_per_cpu_second": run.tokens_per_cpu_second,
    }


def _names(known: Sequence[str], text: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",") if name.strip()]
    if not chosen or not set(chosen) <= set(known):
        raise argparse.ArgumentTypeError(f"not one or more of {', '.join(known)}: {text}")
    return [name for name in known if name in chosen]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.overhead", description=contenders.__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="interleaved rounds, of which medians are taken")
    add("--seconds", type=float, default=4, help="length of one measurement")
    add(
        "--only",
        type=lambda text: _names(workloads.NAMES, text),
        default=list(workloads.NAMES),
        help=f"workloads, with commas: {', '.join(workloads.NAMES)}",
    )
    add(
        "--servers",
        type=lambda text: _names(contenders.NAMES, text),
        default=list(contenders.NAMES),
        help=f"servers, with commas: {', '.join(contenders.NAMES)}",
    )
    add("--python", default=sys.executable, help="interpreter that runs fondaco")
    add("--fondaco", metavar="COMMAND", help="command that stands for `fondaco`, instead of --python")
    add("--vllm-router-python", metavar="PATH", help="interpreter that has the package vllm-router")
    add("--folder", type=_new_folder, help="a new folder for the servers' logs and data; it is kept")
    return parser


def _new_folder(text: str) -> Path:
    folder = Path(text).resolve()
    folder.mkdir(parents=True, exist_ok=False)
    return folder


if __name__ == "__main__":
    sys.exit(main())

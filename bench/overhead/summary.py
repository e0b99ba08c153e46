"""What a run found: medians over its rounds, ratios within each round, and whether the figures were reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.overhead.contenders import ENGINE, FONDACO, VLLM_ROUTER
from bench.overhead.workloads import BURST, JSON, LATENCY, PACED, PACED_STREAMS, WORKLOADS, Measurement
from bench.report import median, table, verdict

Rounds = Mapping[str, Mapping[str, Sequence[Measurement]]]
"""Workload → server → one measurement a round."""

MIN_REQUESTS_RATIO = 0.65
MIN_CHUNKS_RATIO = 1.5
MAX_GAP_MS = 250.0


def ratios(
    ours: Sequence[Measurement], theirs: Sequence[Measurement], of: Callable[[Measurement], float]
) -> list[float]:
    """Round by round: what disturbs the machine for a while disturbs both sides of a ratio."""
    return [of(one) / of(other) for one, other in zip(ours, theirs, strict=True)]


def text(rounds: Rounds, memory: Mapping[str, tuple[float, float]]) -> str:
    parts: list[str] = []
    if JSON in rounds:
        parts.append(_throughput(JSON, "requests", rounds[JSON], _requests))
    if BURST in rounds:
        parts.append(_throughput(BURST, "chunks", rounds[BURST], _chunks))
    if PACED in rounds:
        parts.append(_paced(rounds[PACED]))
    if LATENCY in rounds:
        parts.append(_latency(rounds[LATENCY]))
    rows = [[server, f"{idle:.0f}", f"{after:.0f}"] for server, (idle, after) in memory.items()]
    parts.append("resident memory, MiB\n" + table(["server", "idle", "after the run"], rows))
    return "\n\n".join(parts)


def verdicts(rounds: Rounds) -> list[str]:
    said: list[str] = []
    for workload, unit, of, least in (
        (JSON, "requests", _requests, MIN_REQUESTS_RATIO),
        (BURST, "burst chunks", _chunks, MIN_CHUNKS_RATIO),
    ):
        found = rounds.get(workload, {})
        if FONDACO in found and VLLM_ROUTER in found:
            ratio = median(ratios(found[FONDACO], found[VLLM_ROUTER], of))
            name = f"{unit} per CPU-second at least {least} times vllm-router's"
            said.append(verdict(name, ratio >= least, f"{ratio:.2f}"))
    if runs := rounds.get(PACED, {}).get(FONDACO):
        missing = sum(run.tokens_expected - run.tokens for run in runs)
        said.append(verdict("every token of the paced streams", missing == 0, f"{missing} missing"))
        gap = median([run.gap.p99_9 for run in runs]) / 1e3
        name = f"p99.9 gap of the paced streams at most {MAX_GAP_MS:.0f} ms"
        said.append(verdict(name, gap <= MAX_GAP_MS, f"{gap:.1f} ms"))
    return said


def _requests(run: Measurement) -> float:
    return run.answers_per_cpu_second


def _chunks(run: Measurement) -> float:
    return run.tokens_per_cpu_second


def _throughput(
    workload: str, unit: str, found: Mapping[str, Sequence[Measurement]], of: Callable[[Measurement], float]
) -> str:
    rows: list[list[str]] = []
    for server, runs in found.items():
        against = "-"
        if server != ENGINE and (theirs := found.get(VLLM_ROUTER)):
            each = ratios(runs, theirs, of)
            against = f"{median(each):.2f} ({min(each):.2f}-{max(each):.2f})"
        rows.append(
            [
                server,
                f"{median([of(run) for run in runs]):,.0f}",
                against,
                *(f"{median([at(run) for run in runs]) / 1e3:.2f}" for at in (_p50, _p99, _p99_9)),
                f"{median([run.cores_used for run in runs]):.0%}",
            ]
        )
    head = ["server", f"{unit}/CPU-s", "x vllm-router", "p50 ms", "p99 ms", "p99.9 ms", "core busy"]
    return f"{WORKLOADS[workload].title}\n{table(head, rows)}"


def _paced(found: Mapping[str, Sequence[Measurement]]) -> str:
    rows = [
        [
            server,
            f"{sum(run.tokens for run in runs):,}/{sum(run.tokens_expected for run in runs):,}",
            f"{median([run.cpu_seconds / run.tokens * 1e6 for run in runs]):.1f}",
            *(
                f"{median([value(run) for run in runs]) / 1e3:.2f}"
                for value in (_delay_p50, _delay_p99, _delay_p99_9)
            ),
            *(
                f"{median([value(run) for run in runs]) / 1e3:.1f}"
                for value in (_gap_p50, _gap_p99, _gap_p99_9)
            ),
        ]
        for server, runs in found.items()
    ]
    head = ["server", "tokens", "CPU µs/token", "delay p50 ms", "p99", "p99.9", "gap p50 ms", "p99", "p99.9"]
    return f"{WORKLOADS[PACED].title} ({PACED_STREAMS} at once)\n{table(head, rows)}"


def _latency(found: Mapping[str, Sequence[Measurement]]) -> str:
    rows: list[list[str]] = []
    for server, runs in found.items():
        added = "-"
        if server != ENGINE and (bare := found.get(ENGINE)):
            each = [one.duration.p50 - other.duration.p50 for one, other in zip(runs, bare, strict=True)]
            added = f"{median(each):.0f}"
        rows.append(
            [server, *(f"{median([at(run) for run in runs]):.0f}" for at in (_p50, _p99, _p99_9)), added]
        )
    return f"{WORKLOADS[LATENCY].title}\n{table(['server', 'p50 µs', 'p99 µs', 'p99.9 µs', 'added p50 µs'], rows)}"


def _p50(run: Measurement) -> float:
    return run.duration.p50


def _p99(run: Measurement) -> float:
    return run.duration.p99


def _p99_9(run: Measurement) -> float:
    return run.duration.p99_9


def _delay_p50(run: Measurement) -> float:
    return run.delay.p50


def _delay_p99(run: Measurement) -> float:
    return run.delay.p99


def _delay_p99_9(run: Measurement) -> float:
    return run.delay.p99_9


def _gap_p50(run: Measurement) -> float:
    return run.gap.p50


def _gap_p99(run: Measurement) -> float:
    return run.gap.p99


def _gap_p99_9(run: Measurement) -> float:
    return run.gap.p99_9

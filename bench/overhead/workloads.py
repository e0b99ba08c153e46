"""The four things that are measured, and one measurement of one of them on one server."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.overhead.body import MODEL, PACED_MODEL, chat
from bench.overhead.contenders import Contender
from bench.process import cpu_seconds, pinned

BURST_TOKENS, PACED_TOKENS, INTERVAL_MS = 64, 100, 20
PACED_STREAMS = 500
JSON, BURST, PACED, LATENCY = NAMES = ("json", "burst", "paced", "latency")


class WrongAnswerError(RuntimeError):
    """A server gave a wrong answer, so that the run is void."""


@dataclass(frozen=True)
class Workload:
    name: str
    title: str
    model: str
    tokens: int
    connections: int
    requests: int = 0
    """Ends after so many requests; 0: after the time that the run gives it."""
    ramp_ms: int = 0


WORKLOADS = {
    JSON: Workload(JSON, "2.4 KB chat, 32 connections", MODEL, 0, 32),
    BURST: Workload(
        BURST, f"burst streams of {BURST_TOKENS} chunks, 16 connections", MODEL, BURST_TOKENS, 16
    ),
    PACED: Workload(
        PACED,
        f"{PACED_STREAMS} streams of {1000 // INTERVAL_MS} tokens/s",
        PACED_MODEL,
        PACED_TOKENS,
        PACED_STREAMS,
        requests=2 * PACED_STREAMS,
        ramp_ms=1000,
    ),
    LATENCY: Workload(LATENCY, "2.4 KB chat, one in flight", MODEL, 0, 1),
}


@dataclass(frozen=True)
class Spread:
    """Durations in µs."""

    p50: float
    p99: float
    p99_9: float
    max: float


@dataclass(frozen=True)
class Measurement:
    """One run of the load tool, all of whose answers were right."""

    answers: int
    tokens: int
    tokens_expected: int
    seconds: float
    cpu_seconds: float
    duration: Spread
    gap: Spread
    delay: Spread

    @property
    def answers_per_cpu_second(self) -> float:
        return self.answers / self.cpu_seconds if self.cpu_seconds else float("nan")

    @property
    def tokens_per_cpu_second(self) -> float:
        return self.tokens / self.cpu_seconds if self.cpu_seconds else float("nan")

    @property
    def cores_used(self) -> float:
        return self.cpu_seconds / self.seconds


def measure(load: Path, workload: Workload, server: Contender, seconds: float, core: int) -> Measurement:
    """Put the load on one server from `core`. Raises WrongAnswerError when one answer is not right."""
    with tempfile.NamedTemporaryFile(suffix=".json") as body:
        body.write(chat(workload.model, stream=workload.tokens > 0))
        body.flush()
        words = [str(load), "--port", str(server.port), "--path", server.path, "--key", server.key]
        words += ["--body", body.name, "--connections", str(workload.connections)]
        words += ["--requests", str(workload.requests)] if workload.requests else ["--seconds", str(seconds)]
        words += ["--tokens", str(workload.tokens), "--ramp-ms", str(workload.ramp_ms)]
        if server.gateway:
            words += ["--gateway", "--model", workload.model]
        before = cpu_seconds(server.pid)
        done = subprocess.run(pinned(core, words), capture_output=True, text=True, check=False)
        spent = cpu_seconds(server.pid) - before
    if done.returncode != 0:
        raise WrongAnswerError(f"{server.name}, {workload.title}: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    return Measurement(
        answers=found["answers"],
        tokens=found["tokens"],
        tokens_expected=found["tokens_expected"],
        seconds=found["seconds"],
        cpu_seconds=spent,
        duration=_spread(found["duration_us"]),
        gap=_spread(found["gap_us"]),
        delay=_spread(found["delay_us"]),
    )


def _spread(found: dict[str, float]) -> Spread:
    return Spread(found["p50"], found["p99"], found["p99_9"], found["max"])

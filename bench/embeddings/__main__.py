"""`python -m bench.embeddings`: many clients with a short text each, against bare calls one by one."""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine
from bench.embeddings.bare import Bare
from bench.embeddings.texts import PASSAGES, QUERIES, QUESTIONS
from bench.gateway import SOURCE, FondacoCommand, serve
from bench.process import NotReadyError, cpu_seconds, free_port, running, wait_until_ready
from bench.report import facts_text, median, save, table, verdict

MODEL = "all-minilm-l6-v2"
AT_LEAST = {"engine": 3.0, "gateway": 2.0}
"""Times the rate of bare calls."""


class Contender:
    def __init__(self, name: str, url: str, key: str, pid: int | None) -> None:
        self.name = name
        self.url = url
        self.key = key
        self.pid = pid

    def vectors(self, texts: Sequence[str]) -> Any:
        """Each text asked for by itself, 64 at once."""
        with ThreadPoolExecutor(64) as pool:
            return np.stack(list(pool.map(self._vector, texts)))

    def _vector(self, text: str) -> Any:
        body = json.dumps({"model": MODEL, "input": text, "encoding_format": "base64"}).encode()
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.url, body, headers), timeout=300) as answer:
            [item] = json.load(answer)["data"]
        return np.frombuffer(base64.b64decode(item["embedding"]), "<f4")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    bystanders = machine.Bystanders.watch()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-embeddings-") as folder,
            contextlib.ExitStack() as stack,
        ):
            contenders = [stack.enter_context(each) for each in _contenders(options, Path(folder))]
            contenders[0].vectors(QUERIES)  # which fetches the weights where they are not there
            model, tokenizer = _weights()
            bare = Bare(model, tokenizer, options.threads)
            nearness = {each.name: _nearness(bare, each) for each in contenders}
            found = _measure(options, contenders, [model, tokenizer])
    except NotReadyError as error:
        print(f"bench.embeddings: {error}", file=sys.stderr)
        return 1
    facts = machine.facts() | {
        "model": MODEL,
        "threads": str(options.threads),
        "clients": str(options.clients),
        "used by others meanwhile": f"{bystanders.share():.0%} of the machine",
    }
    print(facts_text(facts), end="\n\n")
    names = [each.name for each in contenders]
    ratios = {
        name: [each["rate"] / one["rate"] for each, one in zip(found[name], found["bare"], strict=True)]
        for name in names
    }
    rows = [_row(name, found[name], ratios.get(name)) for name in ("bare", *names)]
    print(table(["", "texts/s", "x bare", "range", "CPU ms a text", "p50 ms", "p99 ms"], rows), end="\n\n")
    verdicts = [
        verdict(
            f"{name}: at least {least} x bare", median(ratios[name]) >= least, f"{median(ratios[name]):.2f}"
        )
        for name, least in AT_LEAST.items()
    ]
    for name, near in nearness.items():
        good = near["median"] >= 0.9999 and near["worst"] >= 0.9999
        said = f"median {near['median']:.6f}, worst {near['worst']:.6f}"
        verdicts.append(verdict(f"{name}: cosine to bare vectors", good, said))
        same = near["same_first"]
        verdicts.append(
            verdict(f"{name}: the same first hit in 99 % of searches", same >= 0.99, f"{same:.1%}")
        )
    print("\n".join(verdicts))
    path = save(
        "embeddings",
        {"facts": facts, "found": found, "ratios": ratios, "nearness": nearness, "verdicts": verdicts},
    )
    print(f"\nall figures: {path}")
    return 0


def _row(name: str, found: Sequence[dict[str, float]], ratios: Sequence[float] | None) -> list[str]:
    def middle(figure: str, digits: int) -> str:
        told = [each[figure] for each in found if figure in each]
        return f"{median(told):.{digits}f}" if told else "-"

    times = f"{median(ratios):.2f}" if ratios else "1"
    span = f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else "-"
    return [
        name,
        middle("rate", 0),
        times,
        span,
        middle("cpu_ms", 2),
        middle("p50_ms", 1),
        middle("p99_ms", 1),
    ]


def _measure(
    options: argparse.Namespace, contenders: Sequence[Contender], weights: Sequence[str]
) -> dict[str, list[dict[str, float]]]:
    """Every round measures bare calls and each contender, in an order that turns."""
    found: dict[str, list[dict[str, float]]] = {"bare": [], **{each.name: [] for each in contenders}}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        turn = [None, *contenders]
        for each in turn[number % len(turn) :] + turn[: number % len(turn)]:
            if each is None:
                words = [*weights, str(options.threads), str(options.seconds)]
                found["bare"].append(_run(options.python, "bare", words))
                continue
            used = cpu_seconds(each.pid) if each.pid else 0.0
            words = [each.url, each.key, str(options.clients), str(options.seconds)]
            told = _run(options.python, "load", words)
            if each.pid:
                used = cpu_seconds(each.pid) - used
                told["cpu_ms"] = 1000 * used / (told["rate"] * options.seconds)
            found[each.name].append(told)
    return found


def _run(python: str, module: str, words: Sequence[str]) -> dict[str, float]:
    root = str(Path(__file__).parent.parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(SOURCE)])}
    command = [python, "-m", f"bench.embeddings.{module}", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise NotReadyError(f"{module} failed: {done.stderr[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _nearness(bare: Bare, contender: Contender) -> dict[str, float]:
    """How near its vectors are to bare ones, and how often it finds the same passage first."""
    texts = [*QUERIES, *PASSAGES, *QUESTIONS]
    mine, theirs = bare.all(texts), contender.vectors(texts)
    cosines = (mine * theirs).sum(1)
    first, last = len(QUERIES), len(QUERIES) + len(PASSAGES)
    hits = [(made[last:] @ made[first:last].T).argmax(1) for made in (mine, theirs)]
    return {
        "median": float(np.median(cosines)),
        "worst": float(cosines.min()),
        "same_first": float((hits[0] == hits[1]).mean()),
    }


def _contenders(
    options: argparse.Namespace, folder: Path
) -> list[contextlib.AbstractContextManager[Contender]]:
    command = FondacoCommand.of(options.python, None)
    others = [contextlib.nullcontext(Contender(url, url, options.key, None)) for url in options.server]
    return [_engine(options, command, folder), _gateway(options, command, folder), *others]


@contextlib.contextmanager
def _engine(options: argparse.Namespace, command: FondacoCommand, folder: Path) -> Generator[Contender]:
    port, config, log = free_port(), folder / "engine.toml", folder / "engine.log"
    config.write_text(f"[engines]\nthreads = {options.threads}\n")
    words = [*command.words, "engine", "embeddings", "--port", str(port), "--config", str(config)]
    with running(words, log, {**dict(command.env), "FONDACO_ENGINE_KEY": ""}) as process:
        wait_until_ready(process, f"http://127.0.0.1:{port}/health", log, seconds=300)
        yield Contender("engine", f"http://127.0.0.1:{port}/v1/embeddings", "none", process.pid)


@contextlib.contextmanager
def _gateway(options: argparse.Namespace, command: FondacoCommand, folder: Path) -> Generator[Contender]:
    config = (
        f"[limits]\nscale = 1_000_000\n[engines]\nthreads = {options.threads}\n[weights]\noffline = true\n"
    )
    with serve(command, folder / "gateway", config) as gateway:
        url = f"http://127.0.0.1:{gateway.port}/api/v1/embeddings"
        yield Contender("gateway", url, gateway.key, gateway.process.pid)


def _weights() -> tuple[str, str]:
    """Model and tokenizer in this machine's cache."""
    from fondaco.engines.weights import WeightStore, pinned
    from fondaco.settings import WeightSettings

    store = WeightStore(WeightSettings())
    names = (f"{MODEL}-int8.onnx", f"{MODEL}-tokenizer.json")
    model, tokenizer = (store.find(pinned()[name]) for name in names)
    if model is None or tokenizer is None:
        raise NotReadyError("the weights are not in the cache")
    return str(model), str(tokenizer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.embeddings", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the model")
    parser.add_argument("--server", action="append", default=[], help="URL of another server's /embeddings")
    parser.add_argument("--key", default="none", help="that the other server wants")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that is measured")
    return parser


if __name__ == "__main__":
    sys.exit(main())

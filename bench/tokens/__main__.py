"""`python -m bench.tokens`: alternating pairs of the same batch, through the gateway and straight to the engine."""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.gateway import FondacoCommand, bound_models, serve
from bench.process import NotReadyError, free_port, running, wait_until_ready
from bench.report import facts_text, median, save, table, verdict
from bench.tokens.stream import Endpoint, StreamError, run_batch

MODEL = "bench-local"
KEY_VARIABLE = "BENCH_CHILD_KEY"
MIN_RATIO = 0.97
STREAMS = (1, 4)
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Pair:
    gateway: float
    direct: float
    """Tokens a second."""

    @property
    def ratio(self) -> float:
        return self.gateway / self.direct


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    weights = options.weights or _smallest_weights()
    if weights is None or not weights.is_file():
        print("bench.tokens: no weights found; give a GGUF file with --weights", file=sys.stderr)
        return 1
    facts = machine.facts() | {"weights": f"{weights.name}, {weights.stat().st_size / 1e6:.0f} MB"}
    bystanders = machine.Bystanders.watch()
    try:
        with _both(options, weights.resolve()) as (gateway, direct):
            found = {streams: _pairs(gateway, direct, streams, options) for streams in STREAMS}
    except (NotReadyError, StreamError) as error:
        print(f"bench.tokens: {error}", file=sys.stderr)
        return 1
    facts |= {"used by others meanwhile": f"{bystanders.share():.0%} of the machine"}
    print(facts_text(facts), end="\n\n")
    verdicts: list[str] = []
    for streams, pairs in found.items():
        rows = [
            [f"pair {number + 1}", f"{pair.gateway:.1f}", f"{pair.direct:.1f}", f"{pair.ratio:.3f}"]
            for number, pair in enumerate(pairs)
        ]
        ratio = median([pair.ratio for pair in pairs])
        rows.append(
            [
                "median",
                f"{median([pair.gateway for pair in pairs]):.1f}",
                f"{median([pair.direct for pair in pairs]):.1f}",
                f"{ratio:.3f}",
            ]
        )
        name = f"{streams} stream{'s' if streams > 1 else ''}"
        print(name, table(["tokens/s", "gateway", "direct", "ratio"], rows), sep="\n", end="\n\n")
        verdicts.append(
            verdict(
                f"{name} at least {MIN_RATIO:.0%} of the engine's own", ratio >= MIN_RATIO, f"{ratio:.1%}"
            )
        )
    if not options.direct_only:  # the engine against itself reaches nothing
        print("\n".join(verdicts))
    pairs_json = {
        str(streams): [
            {"gateway": pair.gateway, "direct": pair.direct, "ratio": pair.ratio} for pair in pairs
        ]
        for streams, pairs in found.items()
    }
    print(f"\nall figures: {save('tokens', {'facts': facts, 'verdicts': verdicts, 'pairs': pairs_json})}")
    return 0


@contextlib.contextmanager
def _both(options: argparse.Namespace, weights: Path) -> Generator[tuple[Endpoint, Endpoint]]:
    """One engine, and a gateway bound to it: first the way through the gateway, then the direct one."""
    port, key = free_port(), secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {KEY_VARIABLE: key, "PYTHONPATH": os.pathsep.join(paths)}
        words = [options.python, "-m", "bench.tokens.child", str(weights), str(port)]
        log = folder / "child.log"
        child = stack.enter_context(running(words, log, env))
        wait_until_ready(child, f"http://127.0.0.1:{port}/health", log, seconds=120)
        direct = Endpoint(port, "/v1/chat/completions", key)
        if options.direct_only:
            yield direct, direct
            return
        config = bound_models({MODEL: f"http://127.0.0.1:{port}/v1"}, default=MODEL, api_key_env=KEY_VARIABLE)
        # Without a system prompt of the gateway's own, both ways send the model the same text.
        config += '\n[prompt]\nsystem = ""\n'
        command = FondacoCommand.of(options.python, options.fondaco)
        gateway = stack.enter_context(serve(command, folder / "gateway", config, env={KEY_VARIABLE: key}))
        yield Endpoint(gateway.port, "/api/v1/chat/completions", gateway.key), direct


def _pairs(gateway: Endpoint, direct: Endpoint, streams: int, options: argparse.Namespace) -> list[Pair]:
    nonces = iter(range(1000 * streams, 1000 * streams + 900))

    def measured(endpoint: Endpoint) -> Callable[[], float]:
        return lambda: run_batch(endpoint, MODEL, streams, options.max_tokens, next(nonces)).rate

    ways = {"gateway": measured(gateway), "direct": measured(direct)}
    for way in ways.values():
        way()  # the first answer of a model is slower than all later ones
    pairs: list[Pair] = []
    for number in range(options.pairs):
        print(f"{streams} at once, pair {number + 1} of {options.pairs}", file=sys.stderr)
        order = ["gateway", "direct"] if number % 2 == 0 else ["direct", "gateway"]
        rates = {name: ways[name]() for name in order}
        pairs.append(Pair(rates["gateway"], rates["direct"]))
    return pairs


def _smallest_weights() -> Path | None:
    """The smallest text model in fondaco's cache: the faster the engine, the more a gateway shows."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fondaco"
    found = [path for path in cache.rglob("*") if path.is_file() and _is_gguf(path)]
    return min(found, key=lambda path: path.stat().st_size, default=None)


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:  # cached weights are named by their hash, not by their kind
        return file.read(4) == b"GGUF"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.tokens", description=__doc__)
    add = parser.add_argument
    add("--weights", type=Path, help="a GGUF file; by default the smallest in fondaco's cache")
    add("--pairs", type=int, default=5, help="alternating pairs, of which the median is taken")
    add("--max-tokens", type=int, default=192, help="tokens of each answer")
    add("--python", default=sys.executable, help="interpreter that runs fondaco and the engine")
    add("--fondaco", metavar="COMMAND", help="command that stands for `fondaco`, instead of --python")
    add(
        "--direct-only",
        action="store_true",
        help="measure the engine against itself: the noise of this machine",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

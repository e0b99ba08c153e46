"""`python -m bench.augment.index`: how soon the local index answers, and whether with the passage that was meant.

`fondaco index add` takes a library of 10,000 passages in, `fondaco serve` gives them their vectors and is then asked at
`/augment/search`, one search after the other, with nothing but the index to search in: once with its embedding model and
once without. Two kinds of searches:

- questions in words of their own (see `bench.augment.corpus`),
- keywords: three of a passage's less common words, as whoever knows what is written there asks.

What weighs words against meanings was chosen by the first half of each; the other half tells how good it is.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine
from bench.augment.corpus import UnfitCorpusError, questions, write
from bench.gateway import FondacoCommand, Gateway, serve
from bench.process import NotReadyError, cpu_seconds
from bench.report import facts_text, median, save, table, verdict
from fondaco.augment.words import content_words

MODEL = "all-minilm-l6-v2"
MAX_P50_MS = 60.0
MIN_RECALL = 0.9
RESULTS = 5
KEYWORD_SEARCHES = 200
EMBEDDING_SECONDS = 3600.0


class Search(NamedTuple):
    kind: str
    half: str
    """`first`, by which weights were chosen, or `other`."""
    query: str
    passage: str


class Outcome(NamedTuple):
    search: Search
    ms: float
    place: int | None
    """Of the result that holds the passage, from 1; None where no result does."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    bystanders = machine.Bystanders.watch()
    facts = machine.facts() | {"model": MODEL, "results of a search": str(RESULTS)}
    command = FondacoCommand.of(options.python, None)
    figures: dict[str, dict[str, float]] = {}
    missed: dict[str, list[str]] = {}
    try:
        with contextlib.ExitStack() as stack:
            place = options.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-index-"))
            folder = Path(place).resolve()
            searches, told = _library(folder / "library", options.passages)
            facts |= told | _taken_in(command, folder)
            for name, model in (("words and meaning", MODEL), ("words alone", "")):
                with _gateway(command, folder, model) as gateway:
                    if model:
                        facts |= _given_vectors(gateway, folder, options.passages)
                    figures[name], outcomes = _measured(gateway, searches)
                missed[name] = [each.search.query for each in outcomes if each.place is None]
            file = folder / "gateway" / "data" / "index.db"
            facts["on disk"] = f"{file.stat().st_size / 2**20:.0f} MiB"
    except (NotReadyError, UnfitCorpusError) as error:
        print(f"bench.augment.index: {error}", file=sys.stderr)
        return 1
    facts["used by others meanwhile"] = f"{bystanders.share():.0%} of the machine"
    print(facts_text(facts), end="\n\n")
    print(_as_table(figures), end="\n\n")
    best = figures["words and meaning"]
    verdicts = [
        verdict(f"at most {MAX_P50_MS:.0f} ms p50", best["p50 ms"] <= MAX_P50_MS, f"{best['p50 ms']:.1f}"),
        *(
            verdict(f"recall@5 of questions, {half} half", best[figure] >= MIN_RECALL, f"{best[figure]:.3f}")
            for half in ("first", "other")
            for figure in [f"questions @5, {half} half"]
        ),
    ]
    print("\n".join(verdicts))
    path = save("augment-index", {"facts": facts, "figures": figures, "missed": missed, "verdicts": verdicts})
    print(f"\nall figures: {path}")
    return 0


def _library(folder: Path, count: int) -> tuple[list[Search], dict[str, str]]:
    """What is to be searched for, and what there is to say of it."""
    asked = questions()
    passages = write(folder, asked, count)
    kinds = {
        "questions": [(each.text, each.passage) for each in asked],
        "keywords": _keywords(passages),
    }
    searches = [
        Search(kind, ("first", "other")[number % 2], *each)
        for kind, made in kinds.items()
        for number, each in enumerate(made)
    ]
    shared = [each.shared for each in asked]
    random.Random(1).shuffle(searches)
    return searches, {
        "questions": f"{len(asked)}; of their words the passage has {sum(shared) / len(shared):.0%} on average, "
        f"{max(shared):.0%} at most",
        "keyword searches": str(len(kinds["keywords"])),
    }


def _keywords(passages: Sequence[str]) -> list[tuple[str, str]]:
    """Three words each that at least one other passage has too, and not one in twenty."""
    words = [set(content_words(passage)) for passage in passages]
    holders = Counter(word for each in words for word in each)
    chosen = random.Random(3)
    made: list[tuple[str, str]] = []
    for at in chosen.sample(range(len(passages)), len(passages)):
        fit = sorted(
            word
            for word in words[at]
            if len(word) > 3 and word.isalpha() and 2 <= holders[word] <= len(passages) / 20
        )
        if len(fit) >= 5 and len(words[at]) >= 20:
            made.append((" ".join(chosen.sample(fit, 3)), passages[at]))
        if len(made) == KEYWORD_SEARCHES:
            break
    return made


def _taken_in(command: FondacoCommand, folder: Path) -> dict[str, str]:
    data = folder / "gateway" / "data"
    words = [*command.words, "index", "add", str(folder / "library"), "--data-dir", str(data)]
    began = time.monotonic()
    done = subprocess.run(
        words, env={**os.environ, **dict(command.env)}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotReadyError(f"fondaco index add failed: {done.stderr[-500:]}")
    return {"taken in": f"in {time.monotonic() - began:.0f} s"}


@contextlib.contextmanager
def _gateway(command: FondacoCommand, folder: Path, model: str) -> Generator[Gateway]:
    config = (
        "[weights]\noffline = true\n[limits]\nscale = 1_000_000\n"
        f"[search]\nproviders = []\nembedding = {json.dumps(model)}\n"
    )
    with serve(command, folder / "gateway", config) as gateway:
        yield gateway


def _given_vectors(gateway: Gateway, folder: Path, count: int) -> dict[str, str]:
    """Wait until the server has seen every passage."""
    began, used = time.monotonic(), cpu_seconds(gateway.process.pid)
    file = folder / "gateway" / "data" / "index.db"
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        held = database.execute("SELECT count(*) FROM passages").fetchone()[0]
        if held != count:
            raise NotReadyError(f"{held} passages were made of {count}")
        while (left := held - database.execute("SELECT count(*) FROM vectors").fetchone()[0]) > 0:
            if time.monotonic() > began + EMBEDDING_SECONDS or gateway.process.poll() is not None:
                raise NotReadyError(f"{left} passages have no vector; is {MODEL} in the cache?")
            time.sleep(1)
    took, used = time.monotonic() - began, cpu_seconds(gateway.process.pid) - used
    return {"passages": str(held), "given vectors": f"in {took:.0f} s, with {used:.0f} s of CPU time"}


def _measured(gateway: Gateway, searches: Sequence[Search]) -> tuple[dict[str, float], list[Outcome]]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port)
    for warm_up in searches[:5]:
        _asked(connection, gateway.key, warm_up)
    used = cpu_seconds(gateway.process.pid)
    outcomes = [_asked(connection, gateway.key, search) for search in searches]
    used = cpu_seconds(gateway.process.pid) - used
    connection.close()
    times = sorted(each.ms for each in outcomes)
    figures = {
        "p50 ms": median(times),
        "p95 ms": times[int(0.95 * len(times))],
        "CPU ms": 1000 * used / len(times),
    }
    for kind in ("questions", "keywords"):
        for most in (1, RESULTS):
            for half in ("first", "other"):
                places = [each.place for each in outcomes if each.search[:2] == (kind, half)]
                found = sum(place is not None and place <= most for place in places)
                figures[f"{kind} @{most}, {half} half"] = found / len(places)
    return figures, outcomes


def _asked(connection: http.client.HTTPConnection, key: str, search: Search) -> Outcome:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    body = json.dumps({"query": search.query, "limit": RESULTS})
    began = time.perf_counter()
    connection.request("POST", "/api/v1/augment/search", body, headers)
    answer = connection.getresponse()
    said = answer.read()
    ms = 1000 * (time.perf_counter() - began)
    if answer.status != 200:
        raise NotReadyError(f"a search was answered with {answer.status}: {said[:300]!r}")
    wanted = _plain(search.passage)
    places = [
        place
        for place, result in enumerate(json.loads(said)["results"], 1)
        if wanted in _plain(result["content"])
    ]
    return Outcome(search, ms, places[0] if places else None)


def _plain(text: str) -> str:
    return " ".join(text.split())


def _as_table(figures: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(figures.values())))
    rows = [
        [name, *(f"{each[name]:.3f}" if "@" in name else f"{each[name]:.1f}" for each in figures.values())]
        for name in names
    ]
    return table(["", *figures], rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.augment.index", description=__doc__)
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument(
        "--folder", type=Path, help="keep library and index there, and use what is there already"
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter that is measured")
    return parser


if __name__ == "__main__":
    sys.exit(main())

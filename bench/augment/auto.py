"""`enable_web_search: "auto"`: how often it is right about which messages need the web, and how long it thinks.

The messages of `messages.toml` are labelled by hand and played no part in the training.
"""

from __future__ import annotations

import argparse
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import machine
from bench.augment.scores import score
from bench.report import facts_text, median, save, table, verdict
from fondaco.augment.need import needs_search

MESSAGES = Path(__file__).parent / "messages.toml"
MIN_F1 = 0.85
MAX_SECONDS = 0.020
ROUNDS = 5


class Message(msgspec.Struct, frozen=True):
    said: str
    search: bool
    before: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench.augment.auto", description=__doc__)
    parser.add_argument("--messages", type=Path, default=MESSAGES, help="labelled messages, TOML")
    parser.add_argument("--show", action="store_true", help="print the messages that come out wrong")
    options = parser.parse_args(arguments)
    messages = labelled(options.messages)
    facts = machine.facts() | {"messages": str(len(messages))}

    began = time.perf_counter()
    needs_search("Hello?")
    loading = time.perf_counter() - began
    found = [needs_search(one.said, one.before) for one in messages]
    seconds = [_seconds(one) for one in messages]

    right = score([one.search for one in messages], found)
    facts |= {"weights read in": f"{1000 * loading:.0f} ms, once"}
    print(facts_text(facts), end="\n\n")
    rows = [
        ["needs the web", str(right.hits), str(right.missed)],
        ["needs none", str(right.needless), str(right.left)],
    ]
    print(table(["message", "searched", "not searched"], rows), end="\n\n")
    print(f"precision {right.precision:.3f}, recall {right.recall:.3f}")
    print(f"time a message: p50 {1000 * median(seconds):.2f} ms, most {1000 * max(seconds):.2f} ms\n")
    verdicts = [
        verdict(f"F1 at least {MIN_F1}", right.f1 >= MIN_F1, f"{right.f1:.3f}"),
        verdict(
            f"at most {1000 * MAX_SECONDS:.0f} ms",
            max(seconds) <= MAX_SECONDS,
            f"{1000 * max(seconds):.2f} ms at most",
        ),
    ]
    print("\n".join(verdicts))
    if options.show:
        for one, searched in zip(messages, found, strict=True):
            if searched != one.search:
                print("missed  " if one.search else "needless", " > ".join((*one.before, one.said)))
    result = {
        "facts": facts,
        "verdicts": verdicts,
        "f1": right.f1,
        "precision": right.precision,
        "recall": right.recall,
        "found": right.hits,
        "needless": right.needless,
        "missed": right.missed,
        "rightly_left": right.left,
        "seconds": {"p50": median(seconds), "most": max(seconds), "loading": loading},
    }
    print(f"\nall figures: {save('augment-auto', result)}")
    return 0


def labelled(path: Path = MESSAGES) -> list[Message]:
    """The messages of a file, with what is right for each."""
    return msgspec.convert(tomllib.loads(path.read_text("utf-8"))["message"], list[Message])


def _seconds(one: Message) -> float:
    """The least of some rounds: others use the machine too."""
    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        needs_search(one.said, one.before)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())

"""Learns the weights of `enable_web_search: "auto"` from `frames.toml` and `said.toml`, and writes them into the package.

    python -m bench.augment.train_auto            # prints cross-validated figures, writes need_weights.txt
    python -m bench.augment.train_auto --check    # figures only

Logistic regression with a quadratic penalty, in numpy; the same data give the same weights. In cross-validation
whole frames are held out, and the topics that fill them.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.augment.scores import Score, score
from fondaco.augment.need import LEAST_ODDS, conversation_signs

HERE = Path(__file__).parent
WEIGHTS = HERE.parents[1] / "src" / "fondaco" / "augment" / "need_weights.txt"
YEAR = 2026
SEED = 5
FOLDS = 5
PER_FRAME = 4
WRAPPED = 16
STEPS = 300
PENALTY = 0.0002
# How readily each kind of sign is believed: cues hold in all languages, pairs of words in few messages.
BELIEF = {"w": 0.6, "b": 0.5, "h": 0.6, "c": 1.0, "hc": 0.8, "f": 1.0, "n": 0.7, "x": 1.0, "bias": 2.0}
SAID = 1_000_000
"""Number of the first message that somebody wrote."""
SAID_SHARE = 4.0
"""Of a message that somebody wrote, in frames."""
LEAST_WEIGHT = 2
"""Hundredths; smaller ones are left out."""

_SLOT = re.compile(r"\{([^{}]*)\}")
_POLITE = ["please ", "hey, ", "can you tell me ", "quick question: ", "I need to know ", "so, ", "Hi! "]
_AFTER = [" thanks", " please", " thx!", " Thank you."]


@dataclass(frozen=True)
class Example:
    frame: int
    said: str
    before: tuple[str, ...]
    search: bool
    share: float
    """Of one frame."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("bench.augment.train_auto", description=__doc__)
    parser.add_argument("--check", action="store_true", help="print figures, write nothing")
    parser.add_argument("--show", action="store_true", help="print what of natural.toml comes out wrong")
    options = parser.parse_args(arguments)
    frames = tomllib.loads((HERE / "frames.toml").read_text("utf-8"))

    folds = [_held_out(frames, fold) for fold in range(FOLDS)]
    print("frames and topics held out", sum(folds, Score()))

    examples = [*made(frames, lambda _at: True), *said_messages()]
    signs = [conversation_signs(one.said, one.before, YEAR) for one in examples]
    weights = learnt(examples, signs)
    held = [_messages_held_out(examples, signs, fold) for fold in range(FOLDS)]
    print("messages of others held out", sum(held, Score()))
    print(
        f"{len(examples)} examples of {len({one.frame for one in examples})} frames, {len(weights)} weights"
    )
    natural = list(natural_messages())
    decided = [_decide(weights, said, before) for said, before, _ in natural]
    print("natural messages", score([search for *_, search in natural], decided))
    if options.show:
        for (said, before, search), found in zip(natural, decided, strict=True):
            if search != found:
                print("  missed " if search else "  needless", " > ".join((*before, said)))
    if not options.check:
        lines = [f"{name} {hundredths}" for name, hundredths in sorted(weights.items())]
        WEIGHTS.write_text(
            "# Made by bench/augment/train_auto.py; do not edit. Hundredths.\n" + "\n".join(lines) + "\n"
        )
    return 0


def natural_messages() -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Message, earlier ones, and whether it needs the web."""
    listed = tomllib.loads((HERE / "natural.toml").read_text("utf-8"))
    for label, search in (("web", True), ("own", False)):
        for line in listed[label]:
            *before, said = line.split(" > ")
            yield said, tuple(before), search


def said_messages() -> Iterator[Example]:
    """Each a frame of its own, which nothing else fills."""
    listed = tomllib.loads((HERE / "said.toml").read_text("utf-8"))["message"]
    for at, row in enumerate(listed):
        yield Example(SAID + at, row["said"], tuple(row.get("before", ())), row["search"], SAID_SHARE)


def made(
    frames: Mapping[str, Mapping[str, Sequence[str]]],
    uses_topic: Callable[[int], bool],
    uses_frame: Callable[[int], bool] = lambda _frame: True,
) -> Iterator[Example]:
    """Examples of the frames that are used, filled with the topics whose place in their list is used."""
    topics = {
        name: [word for at, word in enumerate(words) if uses_topic(at)]
        for name, words in frames["topics"].items()
    }
    number = 0
    pools: dict[str, list[str]] = {"web": [], "own": []}
    for group, labelled in frames.items():
        if group == "topics":
            continue
        for label in ("web", "own"):
            for frame in labelled.get(label, ()):
                number += 1
                if not uses_frame(number):
                    continue
                dice = random.Random(f"{SEED} {frame}")
                count = WRAPPED if group == "wraps" else PER_FRAME if "{" in frame else 1
                lines = {_filled(frame, topics | pools, dice): None for _ in range(count)}
                share = (3.0 if group == "wraps" else 1.0) / len(lines)
                for line in lines:
                    *before, said = line.split(" > ")
                    if group not in ("talks", "wraps"):
                        pools[label].append(line)
                    plain = group == "en" and len(said) < 90 and "\n" not in said
                    yield Example(number, said, tuple(before), label == "web", share * (0.6 if plain else 1))
                    if plain:
                        yield Example(
                            number, _as_typed(said, dice), tuple(before), label == "web", share * 0.4
                        )
                # What stands for itself needs what it needs, whatever was said before.
                if group not in ("talks", "wraps") and len(said.split()) > 4 and all(pools.values()):
                    talk = tuple(
                        dice.choice(pools[dice.choice(("web", "own"))]) for _ in range(dice.randint(1, 3))
                    )
                    yield Example(number, said, talk, label == "web", 0.4)


def _filled(frame: str, topics: Mapping[str, Sequence[str]], dice: random.Random) -> str:
    def pick(match: re.Match[str]) -> str:
        inner = match[1]
        return (
            dice.choice(topics[inner] if topics.get(inner) else inner.split("|"))
            .replace("{", "(")
            .replace("}", ")")
        )

    while _SLOT.search(frame):
        frame = _SLOT.sub(pick, frame)
    return frame


def _as_typed(said: str, dice: random.Random) -> str:
    """The same as others would type it."""
    changes: list[Callable[[str], str]] = [
        lambda text: text.lower().rstrip("?.!"),
        lambda text: dice.choice(_POLITE) + text,
        lambda text: text + dice.choice(_AFTER),
        lambda text: text[0].upper() + text[1:].rstrip("?.") + "?",
    ]
    return dice.choice(changes)(said)


def learnt(examples: Sequence[Example], signs: Sequence[frozenset[str]]) -> dict[str, int]:
    """Weights in hundredths, by sign. A sign of one frame alone says nothing of others."""
    seen: defaultdict[str, set[int]] = defaultdict(set)
    for one, shown in zip(examples, signs, strict=True):
        for sign in shown:
            seen[sign].add(one.frame)
    names = sorted(name for name, where in seen.items() if len(where) > 1)
    number = {name: at for at, name in enumerate(names)}
    belief = np.array([_belief(name) for name in names])
    rows = [[number[sign] for sign in sorted(shown) if sign in number] for shown in signs]
    columns = np.concatenate([np.array(row) for row in rows])
    starts = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    wanted = np.array([one.search for one in examples], float)
    shares = np.array([one.share for one in examples])
    for value in (0.0, 1.0):  # both answers count the same in all
        shares[wanted == value] /= shares[wanted == value].sum() * 2

    def slope(inner: np.ndarray) -> np.ndarray:
        odds = np.bincount(starts, (belief * inner)[columns], len(rows))
        error = shares * (1 / (1 + np.exp(-odds)) - wanted)
        return belief * np.bincount(columns, error[starts], len(names)) + PENALTY * inner

    inner = np.zeros(len(names))
    first, second = np.zeros_like(inner), np.zeros_like(inner)
    for step in range(1, STEPS + 1):  # Adam, on all examples at once
        found = slope(inner)
        first = 0.9 * first + 0.1 * found
        second = 0.99 * second + 0.01 * found**2
        inner -= 0.03 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-7)
    hundredths = np.round(100 * belief * inner).astype(int)
    return {
        name: int(value) for name, value in zip(names, hundredths, strict=True) if abs(value) >= LEAST_WEIGHT
    }


def _belief(name: str) -> float:
    kind = name.partition(":")[0]
    return BELIEF[kind] * (0.5 if "+" in name or ">" in name else 1)


def _held_out(frames: Mapping[str, Mapping[str, Sequence[str]]], fold: int) -> Score:
    mine = list(made(frames, lambda at: at % FOLDS != fold, lambda frame: frame % FOLDS != fold))
    theirs = list(made(frames, lambda at: at % FOLDS == fold, lambda frame: frame % FOLDS == fold))
    weights = learnt(mine, [conversation_signs(one.said, one.before, YEAR) for one in mine])
    return score([one.search for one in theirs], [_decide(weights, one.said, one.before) for one in theirs])


def _messages_held_out(examples: Sequence[Example], signs: Sequence[frozenset[str]], fold: int) -> Score:
    mine = [at for at, one in enumerate(examples) if one.frame < SAID or one.frame % FOLDS != fold]
    theirs = [one for one in examples if one.frame >= SAID and one.frame % FOLDS == fold]
    weights = learnt([examples[at] for at in mine], [signs[at] for at in mine])
    return score([one.search for one in theirs], [_decide(weights, one.said, one.before) for one in theirs])


def _decide(weights: Mapping[str, int], said: str, before: Sequence[str]) -> bool:
    shown = conversation_signs(said, before, YEAR)
    return "c:nosearch" not in shown and sum(weights.get(sign, 0) for sign in shown) > 100 * LEAST_ODDS


if __name__ == "__main__":
    sys.exit(main())

"""A library to search in: passages with a question each, others on the same subjects, and much prose about other things.

A question is put as somebody asks who does not know the passage: of its content words at most a third are there. What is
written by hand lies in `library/`; the rest is what this machine has (see `bench.augment.prose`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.augment.prose import prose
from fondaco.augment.index.passages import passages
from fondaco.augment.words import content_words, overlap

LIBRARY = Path(__file__).parent / "library"
SHARED_AT_MOST = 1 / 3
NEAR_OF_A_FRAME = 24
"""Passages that each frame gives, with other facts in its gaps."""

_GAP = re.compile(r"\{([^}]*)\}")


class UnfitCorpusError(ValueError):
    """A question that tells too much, or too little prose."""


class Question(NamedTuple):
    text: str
    passage: str

    @property
    def shared(self) -> float:
        """Of the question's content words, the part that the passage has."""
        return overlap(set(content_words(self.text)), set(content_words(self.passage)))


def questions() -> list[Question]:
    """Raises UnfitCorpusError for one that shares too many words with its passage."""
    found: list[Question] = []
    for block in _blocks("passages.txt"):
        text, _, passage = block.removeprefix("? ").partition("\n")
        found.append(Question(text, passage))
        if found[-1].shared > SHARED_AT_MOST:
            raise UnfitCorpusError(f"{found[-1].shared:.0%} of the words of {text!r} are in its passage")
    return found


def near() -> list[str]:
    """Passages on the subjects of the questions that answer none of them."""
    chosen = random.Random(5)
    return [
        _GAP.sub(lambda gap: chosen.choice(gap[1].split("|")), frame)
        for frame in _blocks("frames.txt")
        for _ in range(NEAR_OF_A_FRAME)
    ]


def write(folder: Path, asked: Sequence[Question], count: int) -> list[str]:
    """Files that make `count` passages, which are returned; those by hand have a file each, whose name says nothing.

    Raises UnfitCorpusError where this machine has too little prose.
    """
    folder.mkdir(parents=True, exist_ok=True)
    by_hand = list(dict.fromkeys([*(each.passage for each in asked), *near()]))
    random.Random(7).shuffle(by_hand)
    for number, passage in enumerate(by_hand):
        (folder / f"{number:05}.txt").write_text(passage, "utf-8")
    written = by_hand
    for each in prose():
        cut = [passage.text for passage in passages(each.text)]
        if len(written) + len(cut) <= count:
            (folder / f"{each.name}.txt").write_text(each.text, "utf-8")
            written += cut
        if len(written) == count:
            return written
    raise UnfitCorpusError(
        f"{count - len(written)} passages are missing: install all extras and groups of this project"
    )


def _blocks(name: str) -> list[str]:
    """What stands between empty lines, but for the headings."""
    blocks = (LIBRARY / name).read_text("utf-8").strip().split("\n\n")
    return [block for block in blocks if not block.startswith("# ")]

"""Texts cut into passages: whole paragraphs of one section, small enough to mean one thing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

LONGEST = 900
"""Characters: what small embedding models read at once."""
SHORTEST = 40
MOST = 20_000
"""Of one document."""

_HEADING = re.compile(r"(#{1,6})\s++(\S.*)")
_SENTENCE_END = re.compile(r"(?<=[.!?;:。！？])\s+|\n")


class Passage(msgspec.Struct, frozen=True):
    heading: str
    """The headings that it stands under, the outermost first; empty where there are none."""
    text: str


def passages(text: str) -> Iterator[Passage]:
    """All of a text, in order. Headings go with what follows them."""
    path: list[str] = []
    gathered = ""
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip().splitlines()
        while lines and (found := _HEADING.match(lines[0])):
            if gathered:
                yield Passage(" › ".join(path), gathered)
                gathered = ""
            path = [*path[: len(found[1]) - 1], found[2].rstrip("#").rstrip()]
            lines.pop(0)
        for piece in _pieces("\n".join(lines).strip()):
            if gathered and len(gathered) + len(piece) > LONGEST:
                yield Passage(" › ".join(path), gathered)
                gathered = ""
            gathered = f"{gathered}\n{piece}" if gathered else piece
    if gathered:
        yield Passage(" › ".join(path), gathered)


def _pieces(block: str) -> Iterator[str]:
    """A paragraph whole if it is short enough, else its sentences gathered; else cut wherever."""
    if len(block) <= LONGEST:
        if block:
            yield block
        return
    gathered = ""
    for sentence in _SENTENCE_END.split(block):
        for start in range(0, len(sentence), LONGEST):
            piece = sentence[start : start + LONGEST]
            if gathered and len(gathered) + len(piece) >= LONGEST:
                yield gathered
                gathered = ""
            gathered = f"{gathered} {piece}" if gathered else piece
    if gathered:
        yield gathered

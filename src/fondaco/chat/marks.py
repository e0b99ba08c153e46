"""Marks in a model's text, such as `<think>`, that may be cut anywhere between two chunks."""

from __future__ import annotations


def begun(text: str, mark: str) -> int:
    """How long the longest end of `text` is with which `mark` begins, short of the whole of it."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return length
    return 0

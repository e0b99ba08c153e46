"""Tables on a terminal that also read well in a pipe: a rich table would be cut at its width."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import typer


def print_table(rows: Sequence[Sequence[str]], figures: int = 0) -> None:
    """`rows` in columns, the headings being the first of them; the last `figures` columns stand to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = len(widths) - figures
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:words], widths[:words], strict=True)]
        cells += [cell.rjust(width) for cell, width in zip(row[words:], widths[words:], strict=True)]
        typer.echo("  ".join(cells).rstrip())


def day(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d}"


def harmless(text: str) -> str:
    """Anybody's text: control characters in it must not reach the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)

"""Text as it is wanted: decoded, tidy, and no more than there may be."""

from __future__ import annotations

import codecs
import re

from fondaco.augment.parsing.faults import Unreadable
from fondaco.augment.parsing.wire import Parsed

_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ud800-\udfff]")
# From the run's beginning alone: else a long run within a line takes the square of its length.
_BLANK_END = re.compile(r"(?<![ \t\u00a0])[ \t\u00a0]++$", re.MULTILINE)
_GAP = re.compile(r"\n{3,}")
_NEARLY = 0.05


def decoded(data: bytes, charset: str | None = None) -> str:
    """By its byte order mark, else what it is said to be, else UTF-8, else what it looks like."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(name, "replace")
    for name in (charset, "utf-8"):
        try:
            return data.decode(name or "utf-8")
        except (LookupError, UnicodeError, ValueError):
            continue
    return data.decode(_guessed(data), "replace")


def tidy(text: str) -> str:
    """One kind of line ends, at most one empty line in a row, nothing invisible."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _GAP.sub("\n\n", _BLANK_END.sub("", _INVISIBLE.sub("", text))).strip()


def cut(parsed: Parsed, most: int) -> Parsed:
    """Raises nothing: a text that is too long loses its end."""
    text = tidy(parsed.text[: 2 * most])
    parsed.cut = parsed.cut or len(parsed.text) > 2 * most or len(text) > most
    parsed.text = text[:most]
    parsed.title = tidy(parsed.title)[:500]
    return parsed


def cell(value: object) -> str:
    """A table's cell in Markdown."""
    return tidy(str(value)).replace("\n", " ").replace("|", "\\|")


def table(rows: list[list[str]]) -> str:
    """Rows as a Markdown table, the first being its head."""
    width = max(map(len, rows), default=0)
    if not width:
        return ""
    lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
    lines.insert(1, f"|{' --- |' * width}")
    return "\n".join(lines)


class Gathered:
    """Text that is put together piece by piece, until there is enough."""

    def __init__(self, most: int) -> None:
        self._left = 2 * most
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)
        self._left -= len(piece)

    @property
    def enough(self) -> bool:
        return self._left < 0

    def text(self, between: str = "\n\n") -> str:
        return between.join(self._pieces)


def _guessed(data: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        return "latin-1"
    matches = from_bytes(data[:65536])
    best = matches.best()
    if best is None:
        raise Unreadable("unsupported")
    # Tables for Eastern Europe and the Baltic fit Western text nearly as well; Western text is by far the likelier.
    for match in matches:
        if "cp1252" in match.could_be_from_charset and match.chaos <= best.chaos + _NEARLY:
            return "cp1252"
    return best.encoding

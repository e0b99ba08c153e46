"""An answer as it comes, cut into sentences that can be checked and all else, which passes untouched.

All else is code in fences and code that is indented, displayed mathematics, definitions of links and blank lines. Rows
of tables and headings come whole. An item of a list is a sentence, whatever it ends with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from fondaco.augment.citing import marks
from fondaco.content import Sealed

LONGEST = 2000
"""Characters that are held for a sentence's end."""

_AT_ONCE = 4 * LONGEST
_LINE_START = 7
"""Characters of a line that tell what it is."""
_LONGEST_START = 200
"""Characters of indentation, or after a fence on its line, that are waited for."""

_PREFIX = re.compile(r"(?:[ \t]*(?:>|(?:[-*+•]|\d{1,3}[.)])(?=[ \t])))*[ \t]*(?:\[[ xX]\][ \t])?")
_ITEM = re.compile(r"[-*+•\d]")
_FENCE = re.compile(r"`{3,}|~{3,}")
_FENCE_END = re.compile(r"[ \t>]*(`+|~+|)[ \t\r]*\n?")
_BLANK = re.compile(r"[ \t\r]*(?:\n|\Z)")
_HEADING = re.compile(r"#{1,6}[ \t]")
_LABEL = re.compile(r"\[\^?\d{1,3}\]:")
_CODE = re.compile(r" {4}| {0,3}\t")

_STOP = re.compile(r"\n|`+|\$+|\\[()]|[.!?…]+|[。！？]+")
_CLOSERS = re.compile(r"[\"'”’»)*_\]」』）】]*")
_MONEY = re.compile(r"[\s\d]|\Z")
_CLOSED_BY = {"\\(": "\\)"}

_SHORT = re.compile(
    r"""(?:^|[\s("'“‘«\[])(?:
    [^\W\d_](?:\.[^\W\d_])* | e\.g | i\.e | Dr | Mr | Mrs | Ms | Prof | St | Ste | No | Nos | Nr | vs | approx | ca | cf
    | al | Fig | Figs | Vol | Eq | Sec | Ch | pp | Gen | Col | Sgt | Capt | Lt | Rev | Hon | Gov | Sen | Rep | Mt | Ft
    | ed | eds | est | incl | resp | Jan | Feb | Mar | Apr | Jun | Jul | Aug | Sept? | Oct | Nov | Dec | Bros | z\.B | bzw
    )$""",
    re.VERBOSE,
)


class Kind(Enum):
    UNTOUCHED = "untouched"
    SENTENCE = "sentence"
    FRAGMENT = "fragment"
    """Of a sentence that was too long to be held."""
    ROW = "row"
    """Of a table; or a heading."""


class Piece(Sealed):
    kind: Kind
    text: str


class _Place(Enum):
    LINE_START = 1
    PROSE = 2
    REST = 3
    """Of a line that passes untouched."""
    ROW = 4
    FENCE = 5
    FENCE_REST = 6
    MATHEMATICS = 7


class Cutter:
    """One text's. All pieces together are what was fed, in order. Takes time in proportion to it."""

    def __init__(self) -> None:
        self._held = ""
        self._seen = 0
        """Characters of a held sentence in which no end has to be looked for again."""
        self._over = False
        self._place = _Place.LINE_START
        self._closer = ""
        """What ends the block of code or mathematics."""
        self._opening = False
        """That block's first line is not over."""
        self._awaited = ""
        """What ends the code or mathematics that a sentence is in the middle of."""
        self._after_blank = True
        self._in_list = False

    def feed(self, text: str) -> Iterator[Piece]:
        """What is whole now. To be taken to its end."""
        for start in range(0, len(text), _AT_ONCE):
            self._held += text[start : start + _AT_ONCE]
            yield from self._whole()

    def end(self) -> Iterator[Piece]:
        """All that is left."""
        self._over = True
        yield from self._whole()

    def _whole(self) -> Iterator[Piece]:
        while self._held and (piece := self._next()) is not None:
            if piece.text:
                yield piece

    def _next(self) -> Piece | None:
        """None where more has to come first."""
        match self._place:
            case _Place.LINE_START:
                return self._line_start()
            case _Place.PROSE:
                return self._prose()
            case _Place.ROW:
                return self._row()
            case _Place.FENCE:
                return self._fence()
            case _Place.MATHEMATICS:
                return self._mathematics()
            case _Place.REST:
                return self._rest(_Place.LINE_START)
            case _Place.FENCE_REST:
                return self._rest(_Place.FENCE)

    def _take(self, kind: Kind, end: int, place: _Place) -> Piece:
        piece = Piece(kind, self._held[:end])
        self._held = self._held[end:]
        self._seen = 0
        self._place = place
        return piece

    def _line_start(self) -> Piece | None:
        held = self._held
        prefix = _prefix(held)
        line = held[len(prefix) :]
        known = self._over or len(line) >= _LINE_START or "\n" in line or len(held) > _LONGEST_START
        if not known:
            return None
        info = line.partition("\n")[0][:_LONGEST_START]
        fence = line.startswith("~~~") or (line.startswith("```") and "`" not in info.lstrip("`"))
        if fence and not ("\n" in line or self._over or len(info) == _LONGEST_START):
            return None
        if blank := _BLANK.match(line):
            self._after_blank = True
            return self._take(Kind.UNTOUCHED, len(prefix) + blank.end(), _Place.LINE_START)
        after_blank, self._after_blank = self._after_blank, False
        if fence and (found := _FENCE.match(info)):
            self._closer = found[0]
            return self._take(Kind.UNTOUCHED, len(prefix) + len(info), _Place.FENCE_REST)
        if line.startswith(("$$", "\\[")):
            self._closer = "$$" if line.startswith("$") else "\\]"
            self._opening = True
            return self._take(Kind.UNTOUCHED, len(prefix) + 2, _Place.MATHEMATICS)
        if line.startswith("|") or _HEADING.match(line):
            self._in_list = False
            return self._take(Kind.UNTOUCHED, len(prefix), _Place.ROW)
        if _LABEL.match(line):
            return self._take(Kind.UNTOUCHED, len(prefix), _Place.REST)
        item = _ITEM.search(prefix) is not None
        if after_blank and not item and not self._in_list and _CODE.match(prefix):
            self._after_blank = True  # its next line is code too
            return self._take(Kind.UNTOUCHED, len(prefix), _Place.REST)
        self._in_list = item or (self._in_list and prefix[:1] in (" ", "\t"))
        self._awaited = ""
        return self._take(Kind.UNTOUCHED, len(prefix), _Place.PROSE)

    def _prose(self) -> Piece | None:
        held = self._held
        while found := _STOP.search(held, self._seen):
            if found[0] == "\n":
                if held[: found.start()].strip():
                    return self._take(Kind.SENTENCE, found.start(), _Place.PROSE)
                return self._take(Kind.UNTOUCHED, found.end(), _Place.LINE_START)
            if found.end() == len(held) and not self._over:
                break
            if found[0][0] in "`$\\":
                self._await(found)
            elif not self._awaited:
                end = self._sentence_end(found)
                if end is None:
                    break
                if end:
                    return self._take(Kind.SENTENCE, end, _Place.PROSE)
            self._seen = found.end()
        else:
            # A backslash may become more.
            self._seen = len(held) - held.endswith("\\")
        if len(held) > LONGEST:
            cut = max(held.rfind(" ", 0, LONGEST), held.rfind("\t", 0, LONGEST))
            cut = marks.before(held, cut if cut > 0 else LONGEST) or LONGEST
            seen, piece = self._seen, self._take(Kind.FRAGMENT, cut, _Place.PROSE)
            self._seen = max(0, seen - cut)
            return piece
        return self._take(Kind.SENTENCE, len(held), _Place.PROSE) if self._over else None

    def _await(self, found: re.Match[str]) -> None:
        """Code or mathematics begins or ends here."""
        said = found[0]
        if self._awaited:
            if said == self._awaited:
                self._awaited = ""
        elif said[0] == "`" or said == "\\(":
            self._awaited = _CLOSED_BY.get(said, said)
        elif said in ("$", "$$") and not _MONEY.match(found.string, found.end()):
            self._awaited = said

    def _sentence_end(self, stop: re.Match[str]) -> int | None:
        """Where the sentence that stops here is over, with its marks; 0 if it is not, None if that is not known yet."""
        held = self._held
        closed = _CLOSERS.match(held, stop.end())
        assert closed is not None
        end = marks.after(held, closed.end())
        following = marks.spaces(held, end)
        if following == len(held):
            return end if self._over else None
        next_one = held[following]
        if next_one in marks.OPENERS and not self._over:
            ahead = held[following : following + marks.LONGEST]
            if len(ahead) < marks.LONGEST and "\n" not in ahead:
                return None
        if end > closed.end() or stop[0][0] in "。！？":
            return end
        if following == end and next_one not in "\r\n":
            return 0
        if next_one.islower():
            return 0
        if stop[0] == "." and _SHORT.search(held, max(0, stop.start() - 16), stop.start()):
            return 0
        return end

    def _row(self) -> Piece | None:
        end = self._held.find("\n") + 1
        if end:
            return self._take(Kind.ROW, end, _Place.LINE_START)
        if self._over:
            return self._take(Kind.ROW, len(self._held), _Place.ROW)
        if len(self._held) > LONGEST:
            return self._take(Kind.ROW, marks.before(self._held, LONGEST) or LONGEST, _Place.ROW)
        return None

    def _rest(self, place: _Place) -> Piece:
        end = self._held.find("\n") + 1
        return self._take(Kind.UNTOUCHED, end or len(self._held), place if end else self._place)

    def _fence(self) -> Piece | None:
        found = _FENCE_END.match(self._held)
        assert found is not None
        whole = found[0].endswith("\n")
        if not whole and found.end() == len(self._held) and not self._over and found.end() < _LONGEST_START:
            return None
        ended = whole and found[1].startswith(self._closer)
        place = _Place.LINE_START if ended else _Place.FENCE if whole else _Place.FENCE_REST
        return self._take(Kind.UNTOUCHED, found.end(), place)

    def _mathematics(self) -> Piece | None:
        end = self._held.find("\n") + 1
        if not end and not self._over and len(self._held) <= LONGEST:
            return None
        line = self._held[: end or len(self._held)]
        # There is no blank line within it, so that one which nobody closes does not go on for ever.
        ended = self._closer in line or not (line.strip() or self._opening)
        self._opening = self._opening and not end
        return self._take(
            Kind.UNTOUCHED, len(line), _Place.LINE_START if ended and end else _Place.MATHEMATICS
        )


def _prefix(held: str) -> str:
    """Indentation and the signs of quotes and items, at a line's start."""
    found = _PREFIX.match(held)
    return found[0] if found else ""

"""Marks as models write them, and as they go out: `^1^` and `^1,3^`, after the full stop of what they are for.

Read are `^1^`, `^1, 3^`, `^[1]^`, `[1]`, `[1][3]`, `[^1]`, `[Source 1]`, `(source 1)`, `【1】`, `<sup>1</sup>`, `¹` and
`[REF]0[/REF]`, the last as counted from 0. No marks are powers (`10^6^`, `x^2^`, `45 m²`), links (`[1](page)`), lists of
numbers (`the range [1, 5]`), nor anything in code or mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from fondaco.content import Sealed

LONGEST = 48
"""Characters of one mark that are waited for."""

OPENERS = frozenset("^[(【<⁰¹²³⁴⁵⁶⁷⁸⁹")
"""What a mark can begin with."""

_TO_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹˒", "0123456789,")
_RAISED = "[⁰¹²³⁴-⁹]{1,3}"
_NUMBERS = r"\d{1,3}(?:[ ]?(?:[,;&–-]|and)[ ]?\d{1,3}){0,9}"
_WORD = r"(?:[Ss]ources?|[Rr]esults?|[Rr]ef(?:erence)?s?|[Cc]itations?)[ :#]{1,2}"

_FORMS = "|".join(
    (
        r"\^\[?(?P<caret>\d{1,3}(?:[ ]?[,;–-][ ]?\d{1,3}){0,9})\]?\^(?!\d)",
        r"(?<=[.!?。！？])\^(?P<unclosed>\d{1,2})(?![\d^,.])",
        rf"(?P<raised>{_RAISED}(?:[,˒]{_RAISED}){{0,9}})",
        rf"<sup>\[?(?P<sup>{_NUMBERS})\]?</sup>",
        rf"\[\[?\^?(?:{_WORD})?(?P<square>{_NUMBERS})\]?\](?![A-Za-z\d_(=])",
        rf"\({_WORD}(?P<round>{_NUMBERS})\)",
        rf"【(?P<lens>{_NUMBERS})[^】\n]{{0,24}}】",
        rf"\[REF\](?P<counted>{_NUMBERS})\[/REF\]",
    )
)
_MARK = re.compile(_FORMS)
_MARK_OR_KEPT = re.compile(
    r"(?<!`)(?P<ticks>`+)(?!`)[^\n]*?(?<!`)(?P=ticks)(?!`)"
    r"|\$\$[^\n]+?\$\$|\$(?![\s\d])[^$\n]*\S\$(?!\d)|\\\([^\n]+?\\\)|\\\[[^\n]+?\\\]"
    r"|\[[^\[\]\n]{1,300}\]\([^()\s]{1,2000}\)"
    rf"|{_FORMS}"
)

_BETWEEN = re.compile(r"[ \t]*[,;]?[ \t]*")
_RANGE = re.compile(r"(\d+) ?[–-] ?(\d+)")

_NOUN = re.compile(r"\b(?:to|in|see|by|from|per|of|and|both|sources?|results?)[ ]$", re.IGNORECASE)
"""Before a mark that stands for its source: "According to [1], the bridge …"."""

_LIST = re.compile(r"(?:\b(?:range|interval|list|array|vector|set)s?|[∈=≤<>+*/×])[ ]?$", re.IGNORECASE)
_FORMULA = re.compile(r"[=+×·√]|\w[*/]\w|(?:^|[^\w.,])(?:10|2|[b-z]|[α-ωR])$")
_BRACKETS = re.compile(r"\((?=[^()]*[=+*×·−])(?![^()]*[^\W\d]{3})[^()]*\)$")
_UNIT = re.compile(r"(?:^|[\d\s/(])(?:[kcdmnµμ]?m|ft|yd|mi|s)$|\din$")
_MEASURED = re.compile(r"\d[ \xa0]?[^\W\d]+$")
_CALCULATED = re.compile(r"[ ]?[=+×*·]")
_LAST_WORD = re.compile(r"\S{0,40}\Z")


class Marked(Sealed):
    """A sentence, and the marks that were in it."""

    bare: str
    """Without them, and without the spaces before them."""
    claims: list[int]
    """Their numbers, each once, in order."""
    place: int | None = None
    """Where in `bare` a mark stood for its source as a word does; None where they all came after what they are for."""


def read(text: str) -> Marked:
    """One sentence's text."""
    marked = _read(text)
    bare = marked.bare
    # Taking a mark out can leave another behind: `^(source 1)1^`.
    while (again := _read(bare)).claims or again.bare != bare:
        marked = Marked(again.bare, list(dict.fromkeys([*marked.claims, *again.claims])))
        bare = again.bare
    return marked


def written(numbers: Iterable[int]) -> str:
    """Ascending, without spaces; nothing for none."""
    joined = ",".join(map(str, sorted(set(numbers))))
    return f"^{joined}^" if joined else ""


def placed(marked: Marked, numbers: Collection[int]) -> str:
    """The sentence with one mark for all the numbers: where a mark was a word, else at its end. Read again, it gives
    the same `bare`; where that cannot be, it has no mark.
    """
    bare, mark = marked.bare, written(numbers)
    if not mark:
        return bare
    end = len(bare.rstrip(" \t\r\\")) if marked.place is None else marked.place
    # A space where the mark would be read as a part of what stands before it: of `10^6`, or of an address.
    spaced = " " if _joins(bare[:end]) else ""
    for space in dict.fromkeys((spaced, " ")):
        made = bare[:end] + space + mark + bare[end:]
        if _read(made).bare == bare:
            return made
    return bare


def kept(text: str, numbers: Collection[int]) -> str:
    """A line in which marks stand where they are needed, as in a table's cells: those with carets stay for these
    numbers, and go for others.
    """
    pieces: list[str] = []
    at = 0
    for found in _marks(text):
        if found["caret"] is None:
            continue
        before = text[at : found.start()]
        mark = written(number for number in _numbers(found) if number in numbers)
        pieces += (before, mark) if mark else (before.rstrip(" \t"),)
        at = found.end()
    return "".join((*pieces, text[at:]))


def after(text: str, at: int) -> int:
    """The end of the marks that stand at `at`, with spaces before them; `at` where there are none."""
    while found := _MARK.match(text, spaces(text, at)):
        at = found.end()
    return at


def spaces(text: str, at: int) -> int:
    """The end of the spaces at `at`."""
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def before(text: str, at: int) -> int:
    """`at`, or the start of the mark that it is in."""
    for found in _MARK.finditer(text, max(0, at - LONGEST), at + LONGEST):
        if found.start() < at < found.end():
            return found.start()
    return at


def _read(text: str) -> Marked:
    pieces: list[str] = []
    claims: dict[int, None] = {}
    at, length = 0, 0
    place: int | None = None
    for found in _marks(text):
        between = text[at : found.start()]
        if place is None and _NOUN.search(text, max(0, found.start() - 12), found.start()):
            place = length + len(between)
        elif at and _BETWEEN.fullmatch(between):
            between = ""
        else:
            between = between.rstrip(" \t")
        pieces.append(between)
        length += len(between)
        claims |= dict.fromkeys(_numbers(found))
        at = found.end()
    pieces.append(text[at:])
    return Marked("".join(pieces), list(claims), place)


def _marks(text: str) -> Iterator[re.Match[str]]:
    for found in _MARK_OR_KEPT.finditer(text):
        form = found.lastgroup
        if form is None or form == "ticks":
            continue
        if form in ("caret", "sup", "raised", "unclosed") and _is_power(found, form):
            continue
        if form == "square" and (found[form] == "0" or _is_list(found)):
            continue
        yield found


def _is_power(found: re.Match[str], form: str) -> bool:
    said = found[form].translate(_TO_PLAIN)
    text, start = found.string, found.start()
    if not said.isdigit() or not start or text[start - 1].isspace():
        return False
    known = text[max(0, start - 60) : start]
    [word] = _LAST_WORD.findall(known)[:1]
    if _FORMULA.search(word) or _BRACKETS.search(known):
        return True
    if said in ("2", "3") and (_UNIT.search(known) or (form == "raised" and _MEASURED.search(known))):
        return True
    if known[-1].isdigit() and _CALCULATED.match(text, found.end()):
        return True
    # What is written with a raised digit is mostly meant so, but for a year's note.
    return form == "raised" and (re.search(r"(?<!\d)\d{1,3}$|(?<![^\W\d])[^\W\d]$", known) is not None)


def _is_list(found: re.Match[str]) -> bool:
    """Numbers in brackets that are what is spoken of."""
    return _LIST.search(found.string, max(0, found.start() - 12), found.start()) is not None


def _numbers(found: re.Match[str]) -> list[int]:
    form = found.lastgroup or ""
    said = found[form].translate(_TO_PLAIN)
    numbers = [int(number) for number in re.findall(r"\d+", said)]
    for low, high in _RANGE.findall(said):
        numbers += range(int(low), min(int(high), int(low) + 10) + 1)
    return [number + 1 for number in numbers] if form == "counted" else numbers


def _joins(text: str) -> bool:
    return re.search(r"\^\d*$|(?:https?://|www\.)\S{1,2000}$", text) is not None

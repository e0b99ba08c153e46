"""Which entries of a lorebook a conversation calls up, and where they go (Character Card V2 and V3).

Keys are looked for as they are, in the latest turns. Where nothing else is said, four turns are looked through, and
upper and lower case are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fondaco.characters import decorators
from fondaco.characters.card import Book, Entry
from fondaco.characters.decorators import Directives, Place, Role
from fondaco.characters.patterns import Clockwork

SCAN_DEPTH = 4
"""Turns that are looked through where the book does not say."""

_MAX_SCANNED = 16_384
"""Characters, from the end."""

_MOST_TURNS = 65_536

_WAVES = 4
"""How far entries call up entries."""


class Said(NamedTuple):
    """An entry that was called up."""

    text: str
    place: Place
    depth: int | None = None
    """Where it goes among the turns instead: before so many of the last; None for its place beside the card."""
    role: Role = "system"


def called_up(
    book: Book,
    turns: Sequence[str],
    *,
    spoken: int,
    greeted: bool,
    expand: Callable[[str | None], str],
    tokens: Callable[[str], int],
    context_tokens: int,
) -> list[Said]:
    """Entries for this conversation, in the order in which they are to be told.

    `turns` are what was said so far, oldest first; the character has `spoken` so many of them, the first of them its
    own greeting if `greeted`. `context_tokens` is all that the model can read; a quarter of it is for lore where the
    book does not say, and never more than half.
    """
    search = _Search(book, turns, spoken, greeted, expand)
    found = search.matches()
    budget = context_tokens // 4
    if book.token_budget is not None:
        budget = int(min(book.token_budget, context_tokens // 2))
    kept: list[_Known] = []
    for known in sorted(found, key=_Known.weight, reverse=True):
        budget -= tokens(known.text)
        if budget < 0:
            break
        kept.append(known)
    return [_said(known, len(turns)) for known in sorted(kept, key=_Known.rank)]


class _Known(NamedTuple):
    """An entry that was called up."""

    at: int
    entry: Entry
    directives: Directives
    text: str

    def weight(self) -> tuple[float, float]:
        """What weighs least is the first to go."""
        return self.entry.priority or 0, self.entry.insertion_order or 0

    def rank(self) -> tuple[float, int]:
        return self.entry.insertion_order or 0, self.at


class _Search:
    def __init__(
        self,
        book: Book,
        turns: Sequence[str],
        spoken: int,
        greeted: bool,
        expand: Callable[[str | None], str],
    ) -> None:
        self._turns = turns
        self._spoken = spoken
        self._greeted = greeted
        self._expand = expand
        self._depth = SCAN_DEPTH if book.scan_depth is None else int(min(book.scan_depth, _MOST_TURNS))
        self._clockwork = Clockwork()
        self._told = ""
        self._scanned: dict[int, tuple[str, str]] = {}
        self._entries = book.entries
        self._recursive = book.recursive_scanning is True

    def matches(self) -> list[_Known]:
        """Those that the turns call up and, where the book says so, those that these call up."""
        asleep = [(at, entry, said) for at, entry in enumerate(self._entries) if (said := _directives(entry))]
        found: list[_Known] = []
        for _ in range(_WAVES if self._recursive else 1):
            self._told = "\n".join(known.text for known in found)[-_MAX_SCANNED:]
            self._scanned.clear()
            called = [known for known in asleep if self._is_called(known[1], known[2])]
            if not called:
                break
            woken = {at for at, _, _ in called}
            asleep = [known for known in asleep if known[0] not in woken]
            texts = [(at, entry, said, self._expand(said.content)) for at, entry, said in called]
            found += [_Known(*known) for known in texts if known[3]]
        return found

    def _is_called(self, entry: Entry, said: Directives) -> bool:
        if said.activate:
            return True
        if not self._is_time(said):
            return False
        regex = entry.use_regex is True
        if entry.constant and not regex:
            return True
        text = self._text(said.scan_depth)
        if not self._any(entry.keys, entry, text, regex=regex):
            return False
        if entry.selective and entry.secondary_keys and not regex:  # noqa: SIM102
            if not self._any(entry.secondary_keys, entry, text, regex=False):
                return False
        if said.additional_keys and not self._any(said.additional_keys, entry, text, regex=regex):
            return False
        return regex or not self._any(said.exclude_keys, entry, text, regex=False)

    def _is_time(self, said: Directives) -> bool:
        if said.activate_only_after is not None and self._spoken < said.activate_only_after:
            return False
        if said.activate_only_every is not None and self._spoken % said.activate_only_every:
            return False
        # Which greeting was shown is known only where it is ours.
        return not (said.is_greeting and self._greeted)

    def _any(self, keys: Sequence[str] | None, entry: Entry, text: Sequence[str], *, regex: bool) -> bool:
        exact = entry.case_sensitive is True
        for key in keys or ():
            if regex:
                if self._clockwork.finds(key, text[0], case_sensitive=exact):
                    return True
                continue
            word = self._expand(key) if "{{" in key else key.strip()
            if word and (word in text[0] if exact else word.lower() in text[1]):
                return True
        return False

    def _text(self, depth: int | None) -> tuple[str, str]:
        """The latest turns and what was called up before, as they are and in lower case."""
        turns = self._depth if depth is None else depth
        if (known := self._scanned.get(turns)) is None:
            text = "\n".join(self._turns[-turns:])[-_MAX_SCANNED:] if turns > 0 else ""
            text = f"{text}\n{self._told}"
            known = self._scanned[turns] = (text, text.lower())
        return known


def _directives(entry: Entry) -> Directives | None:
    """None for an entry that can never be told."""
    content = entry.content or ""
    if entry.enabled is False or not content.strip():
        return None
    said = Directives(content=content) if decorators.plain(content) else decorators.read(content)
    return said if said.content and (said.activate or not said.dont_activate) else None


def _said(known: _Known, turns: int) -> Said:
    directives = known.directives
    place: Place = "after_desc" if known.entry.position in ("after_char", 1) else "before_desc"
    depth: int | None = None
    if directives.position is not None:
        place = directives.position
    elif directives.depth is not None:
        depth = directives.depth
    elif directives.reverse_depth is not None:
        depth = max(0, turns - directives.reverse_depth)
    return Said(known.text, place, depth, directives.role)

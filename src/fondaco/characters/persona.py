"""A character brought into one conversation: what its model is told before, amid and after the turns."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fondaco.billing.prices.tokens import estimated_tokens
from fondaco.characters.card import Card
from fondaco.characters.decorators import Place, Role
from fondaco.characters.lore import Said, called_up
from fondaco.characters.macros import Macros
from fondaco.content import Sealed

# For cards without a system prompt of their own. Short, for small models are slow readers.
_FRAME = (
    "In this conversation you are {{char}}, and no one else. Speak as {{char}} does, in the first person, and leave "
    "it to {{user}} to speak for {{user}}."
)

_UNKNOWN_CONTEXT = 8192

_start = re.compile(r"^\s*<start>\s*$", re.IGNORECASE | re.MULTILINE)


class Turn(NamedTuple):
    """What the user or the character said."""

    by_character: bool
    text: str


class Aside(NamedTuple):
    """Lore that goes among the turns: before so many of the last."""

    depth: int
    role: Role
    text: str


class Staged(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
    """Empty text stands for nothing to be said there."""

    system: str
    """Goes before the caller's own system prompt."""
    replaces_prompt: bool
    """The card's own system prompt is in `system`, and the server's is not to be beside it."""
    greeting: str
    """The character's first turn, for a conversation that does not begin with one."""
    asides: tuple[Aside, ...]
    """By depth among the turns, the greeting included; each in the order in which it is to be told."""
    closing: str
    """A system message after the last turn."""


def staged(
    card: Card,
    turns: Sequence[Turn],
    *,
    user: str | None,
    original: str,
    context_tokens: int,
    chance: random.Random | None = None,
) -> Staged:
    """The card for a conversation that has come so far.

    `user` is the name of who asks. `original` is the server's own prompt, which a card may quote. `context_tokens`
    is what the model can read (0: not known): examples of talk are told as far as they leave half of it free.
    """
    context = context_tokens or _UNKNOWN_CONTEXT
    macros = Macros(card.called, user, chance)
    greeting = "" if turns and turns[0].by_character else macros(card.first_mes)
    told = [Turn(True, greeting), *turns] if greeting else turns
    lore = _lore(card, told, macros, context, greeted=bool(greeting))
    sections = _sections(card, macros, original, [said for said in lore if said.depth is None])
    taken = estimated_tokens(sum(map(len, sections)) + sum(len(turn.text) for turn in told))
    sections += _examples(card, macros, context // 2 - taken)
    return Staged(
        system="\n\n".join(sections),
        replaces_prompt=bool((card.system_prompt or "").strip()),
        greeting=greeting,
        asides=tuple(Aside(said.depth, said.role, said.text) for said in lore if said.depth is not None),
        closing=macros.around(card.post_history_instructions, ""),
    )


def _lore(card: Card, told: Sequence[Turn], macros: Macros, context: int, *, greeted: bool) -> list[Said]:
    if card.character_book is None:
        return []
    return called_up(
        card.character_book,
        [turn.text for turn in told],
        spoken=sum(turn.by_character for turn in told),
        greeted=greeted,
        expand=macros,
        tokens=_tokens,
        context_tokens=context,
    )


def _sections(card: Card, macros: Macros, original: str, lore: Iterable[Said]) -> list[str]:
    at: dict[Place, list[str]] = {}
    personality, scenario = macros(card.personality), macros(card.scenario)
    there = {"personality": bool(personality), "scenario": bool(scenario)}
    for said in lore:
        place: Place = said.place if there.get(said.place, True) else "before_desc"
        at.setdefault(place, []).append(said.text)
    own = macros.around(card.system_prompt, original)
    texts = (
        own or macros(_FRAME),
        *at.get("before_desc", ()),
        macros(card.description),
        personality and f"{macros.char}'s personality: {personality}",
        *at.get("personality", ()),
        scenario and f"Where and when this is: {scenario}",
        *at.get("scenario", ()),
        *at.get("after_desc", ()),
    )
    return [text for text in texts if text]


def _examples(card: Card, macros: Macros, room: int) -> list[str]:
    """As many of the card's examples, from the first, as there is room for."""
    blocks: list[str] = []
    for block in _start.split(card.mes_example or ""):
        text = macros(block)
        if not text:
            continue
        text = f"How {macros.char} talks, for example:\n{text}"
        room -= _tokens(text)
        if room < 0:
            break
        blocks.append(text)
    return blocks


def _tokens(text: str) -> int:
    return estimated_tokens(len(text))

"""Whether a message needs the web: a linear model over its signs. No network, no other model, about a millisecond.

The weights are learnt by `bench/augment/train_auto.py` from examples of our own; `need.toml` holds the cues.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from math import inf

from fondaco.augment.signs import Asked, cues, signs

LEAST_ODDS = -0.25
"""Log odds from which it is searched: F1 is best a little below even ones."""
_MOST_EARLIER = 6
_HEAD = 300
"""Characters of an earlier message in which a game is proposed."""
_FOLLOWING = 7
"""Words up to which a message may be but the rest of an earlier one."""
_OWN_TASK = frozenset(
    {"translate", "rework", "summarise", "write", "code", "talk", "nosearch", "feelings", "roleplay"}
)
_REFERS = frozenset(
    [
        "it",
        "its",
        "they",
        "their",
        "them",
        "he",
        "his",
        "him",
        "she",
        "her",
        "that",
        "this",
        "those",
        "these",
        "there",
        "one",
        "ones",
        "er",
        "sie",
        "es",
        "ihr",
        "sein",
        "seine",
        "dort",
        "das",
        "il",
        "elle",
        "ils",
        "leur",
        "la",
        "y",
        "el",
        "ella",
        "ellos",
        "su",
        "sus",
        "eso",
        "alli",
        "lui",
        "lei",
        "loro",
        "ci",
        "ele",
        "ela",
        "eles",
        "seu",
        "sua",
        "isso",
        "hij",
        "zij",
        "haar",
        "zijn",
        "die",
        "dat",
        "daar",
    ]
)


def needs_search(said: str, before: Sequence[str] = (), *, year: int | None = None) -> bool:
    """Whether a careful assistant would look at the web before it answers.

    `said` is the latest message of the user, `before` his earlier ones, oldest first: one that only goes on
    ("and in Berlin?") needs what they needed. `year` is the present one, by default the clock's.
    """
    return weight(said, before, year or time.gmtime().tm_year) > LEAST_ODDS


def warm() -> None:
    """Read what is needed to decide, which takes some forty milliseconds."""
    needs_search("")


def weight(said: str, before: Sequence[str], year: int) -> float:
    """Log odds that it does."""
    weights = _weights()
    shown = conversation_signs(said, before, year)
    if "c:nosearch" in shown:  # asked not to: no weight is above that
        return -inf
    return sum(weights.get(sign, 0.0) for sign in shown)


def conversation_signs(said: str, before: Sequence[str], year: int) -> frozenset[str]:
    """Of the message, of what it goes on from, and of the game that is being played."""
    earlier = before[-_MOST_EARLIER:]
    found = set(signs(said, year)) | {"bias"}
    how = _going_on(said) if earlier else None
    found.add(f"x:{how or ('later' if earlier else 'first')}")
    if how:
        at = len(earlier) - 1
        while at > 0 and _going_on(earlier[at]):
            at -= 1
        found.update(
            sign for sign in signs(earlier[at], year) if not sign.startswith(("f:words", "f:sentences", "n:"))
        )
    for one in earlier:
        found.update(f"x:{cue}" for cue in cues(Asked(one[:_HEAD]).words[:8]) & {"roleplay", "nosearch"})
    return frozenset(found)


def _going_on(said: str) -> str | None:
    """How it continues what was said before; None where it stands for itself."""
    words = [word for word in Asked(said).words if word]
    about = cues(words)
    if not words or len(words) > 2 * _FOLLOWING or about & _OWN_TASK:
        return None
    if "and" in cues(words[:3]):
        return "goes on"
    if len(words) <= _FOLLOWING and (_REFERS & set(words) or not about):
        return "refers"
    return None


@cache
def _weights() -> Mapping[str, float]:
    text = resources.files("fondaco.augment").joinpath("need_weights.txt").read_text("utf-8")
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: int(hundredths) / 100 for name, hundredths in rows}

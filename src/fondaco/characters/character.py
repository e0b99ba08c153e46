"""A character as the server has it: its card, and what the operator says of it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import datetime

from fondaco.characters.card import Card
from fondaco.content import Sealed

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,98}[a-z0-9])?")
MAX_BLURB = 1000

_ADULT = frozenset({"nsfw", "nsfl", "adult", "18+", "explicit", "smut", "erotic", "lewd", "porn"})
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Character(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
    slug: str
    id: str
    card: Card
    created_at: datetime
    updated_at: datetime
    enabled: bool = True
    adult: bool = False
    featured: bool = False
    web_enabled: bool = False
    model_id: str | None = None
    """The model it is recommended for; it never changes the one that is asked."""
    ours: bool = False
    """It comes with the program, as it stands here."""

    @property
    def blurb(self) -> str | None:
        """What is told of it to people; what its model is told is nobody's business."""
        notes = (self.card.creator_notes or "").strip()
        return (notes if len(notes) <= MAX_BLURB else notes[: MAX_BLURB - 1] + "…") or None

    @property
    def tags(self) -> list[str]:
        return self.card.tags or []

    @property
    def author(self) -> str:
        """Five letters that stand for whoever made it."""
        number = int.from_bytes(hashlib.sha256((self.card.creator or "").encode()).digest()[:8])
        letters = ""
        for _ in range(5):
            number, at = divmod(number, len(_LETTERS))
            letters += _LETTERS[at]
        return letters


def slug_of(name: str) -> str:
    """A slug made of a name; names without a Latin letter or a digit get one of their own."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80].strip("-")
    return slug or "character-" + hashlib.sha256(name.encode()).hexdigest()[:8]


def says_adult(card: Card) -> bool:
    """Whether its tags say so."""
    return any(tag.strip().lower() in _ADULT for tag in card.tags or ())

"""A character as its card tells it: Character Card V1, V2 and V3, read leniently, for cards come from many editors.

A card is kept as the document it came as, so that what we do not know of it is not lost; `Card` is our view of it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from fondaco.content import Sealed

MAX_DOCUMENT = 2 * 1024 * 1024
"""Bytes of a card's JSON without the assets that it may carry."""

MAX_ENTRIES = 2048
MAX_KEYS = 8192
"""Of a lorebook: what a chat with its character has to look through."""

MAX_NAME = 200

_READ_V1 = "1.0"
_NEWEST = 3.0


class BadCard(ValueError):
    """Not a card that can be read; the text says why, and holds nothing of it."""


class Entry(Sealed, frozen=True, kw_only=True, gc=False):  # pyright: ignore[reportGeneralTypeIssues]
    """One piece of a lorebook. `content` may begin with decorators."""

    keys: list[str] | None = None
    secondary_keys: list[str] | None = None
    content: str | None = None
    enabled: bool | None = None
    insertion_order: float | None = None
    priority: float | None = None
    case_sensitive: bool | None = None
    selective: bool | None = None
    constant: bool | None = None
    use_regex: bool | None = None
    position: str | int | None = None


class Book(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
    """A character's lorebook: what is told beside the card where the conversation comes to it."""

    entries: tuple[Entry, ...] = ()
    scan_depth: float | None = None
    """How many of the latest turns are looked through."""
    token_budget: float | None = None
    recursive_scanning: bool | None = None


class Card(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
    """What a prompt is made of, and what a list shows. A null stands for an empty text."""

    name: str
    nickname: str | None = None
    description: str | None = None
    personality: str | None = None
    scenario: str | None = None
    first_mes: str | None = None
    mes_example: str | None = None
    system_prompt: str | None = None
    post_history_instructions: str | None = None
    character_book: Book | None = None
    creator_notes: str | None = None
    creator: str | None = None
    tags: list[str] | None = None

    @property
    def called(self) -> str:
        """What `{{char}}` stands for."""
        return (self.nickname or "").strip() or self.name


class Read(Sealed, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """A card and its document as it is to be kept: JSON of a V2 or V3 card. `notes` say what was not taken."""

    card: Card
    document: bytes
    notes: tuple[str, ...] = ()


class _Outline(Sealed):
    spec: str | None = None
    spec_version: Any = None
    data: Any = None


def read(document: bytes) -> Read:
    """The card in a JSON document. Raises BadCard."""
    try:
        outline = msgspec.json.decode(document, type=_Outline)
        whole: dict[str, Any] = msgspec.json.decode(document)
    except msgspec.ValidationError as error:
        raise BadCard(f"It is not a character card: {_place(error)}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadCard("It is not JSON") from None
    if not isinstance(outline.data, dict):
        # V1: the fields themselves, in no envelope.
        whole = {"spec": "chara_card_v2", "spec_version": "2.0", "data": whole}
    if outline.spec == "lorebook_v3":
        raise BadCard("It is a lorebook without a character")
    notes: list[str] = []
    if _is_newer(outline.spec_version):
        notes.append("It is of a newer card format than V3: what is new in it is kept, and has no effect")
    if _drop_assets(whole["data"]):
        notes.append("Pictures and sounds inside its JSON were left out")
    kept = msgspec.json.encode(whole)
    if len(kept) > MAX_DOCUMENT:
        raise BadCard(f"Its text is longer than {MAX_DOCUMENT // 1024} KiB")
    return Read(_card(whole["data"]), kept, tuple(notes))


def in_spec(document: bytes, spec: Literal["2", "3"]) -> bytes:
    """The same card for readers of another version of the format."""
    whole: dict[str, Any] = msgspec.json.decode(document)
    whole["spec"], whole["spec_version"] = f"chara_card_v{spec}", f"{spec}.0"
    return msgspec.json.encode(whole)


def is_v3(document: bytes) -> bool:
    return msgspec.json.decode(document, type=_Outline).spec == "chara_card_v3"


def _card(data: Any) -> Card:
    try:
        card = msgspec.convert(data, Card, strict=False)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadCard(f"It is not a character card: {_place(error)}") from None
    if not 0 < len(card.name.strip()) <= MAX_NAME:
        raise BadCard(f"A character's name has 1 to {MAX_NAME} characters")
    book = card.character_book
    if book is not None:
        keys = sum(len(entry.keys or ()) + len(entry.secondary_keys or ()) for entry in book.entries)
        if len(book.entries) > MAX_ENTRIES or keys > MAX_KEYS:
            raise BadCard(f"A lorebook has at most {MAX_ENTRIES} entries and {MAX_KEYS} keys")
    return card


def _is_newer(version: Any) -> bool:
    try:
        return float(version or _READ_V1) > _NEWEST
    except (TypeError, ValueError):
        return False


def _drop_assets(data: dict[str, Any]) -> bool:
    """Take out assets that carry their bytes with them. Whether there were any."""
    assets: Any = data.get("assets")
    if not isinstance(assets, list):
        return False
    kept: list[Any] = [asset for asset in assets if not _carried(asset)]  # pyright: ignore[reportUnknownVariableType]
    data["assets"] = kept
    return len(kept) < len(assets)  # pyright: ignore[reportUnknownArgumentType]


def _carried(asset: Any) -> bool:
    return isinstance(asset, dict) and str(asset.get("uri", "")).startswith("data:")  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]


def _place(error: Exception) -> str:
    """What msgspec finds, which names types and places and never a value."""
    return str(error).replace("$", "data") if isinstance(error, msgspec.ValidationError) else "too deep"

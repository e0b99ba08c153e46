"""The characters that come with the program: one file of `own/` each, a card in TOML."""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import msgspec

from fondaco.characters import card
from fondaco.characters.character import Character

CREATOR = "Fondaco"

_BORN = datetime(2026, 3, 1, tzinfo=UTC)


@cache
def ours() -> Mapping[str, Character]:
    """By slug, which is the file's name."""
    folder = resources.files("fondaco.characters").joinpath("own")
    files = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    found = [_character(file.name.removesuffix(".toml"), file.read_text("utf-8")) for file in files]
    return {each.slug: each for each in sorted(found, key=lambda each: each.slug)}


def document(slug: str) -> bytes:
    """The card as JSON, as others read it. KeyError for none of ours."""
    if slug not in ours():
        raise KeyError(slug)
    text = resources.files("fondaco.characters").joinpath("own", f"{slug}.toml").read_text("utf-8")
    return _document(tomllib.loads(text))


def _character(slug: str, text: str) -> Character:
    table = tomllib.loads(text)
    return Character(
        slug=slug,
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"fondaco:characters/{slug}")),
        card=card.read(_document(table)).card,
        created_at=_BORN,
        updated_at=_BORN,
        featured=table.get("featured", False),
        web_enabled=table.get("web_enabled", False),
        ours=True,
    )


def _document(table: dict[str, Any]) -> bytes:
    """A V3 card with every field that the format asks for."""
    told: dict[str, Any] = {
        key: value.strip() if isinstance(value, str) else value for key, value in table.items()
    }
    data: dict[str, Any] = {key: told.get(key, "") for key in _TEXTS}
    data |= {"creator": CREATOR, "character_version": "1", "tags": told["tags"], "extensions": {}}
    data |= {"alternate_greetings": [], "group_only_greetings": []}
    if (book := told.get("character_book")) is not None:
        data["character_book"] = {
            "extensions": {},
            **book,
            "entries": [
                {**_ENTRY, **entry, "content": entry["content"].strip()} for entry in book["entries"]
            ],
        }
    return msgspec.json.encode({"spec": "chara_card_v3", "spec_version": "3.0", "data": data})


_TEXTS = (
    "name",
    "nickname",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
)
_ENTRY: Mapping[str, Any] = {"enabled": True, "insertion_order": 0, "use_regex": False, "extensions": {}}

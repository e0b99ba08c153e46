"""The characters that come with the program."""

from __future__ import annotations

import json

import pytest

from fondaco.characters.card_file import opened
from fondaco.characters.character import SLUG, slug_of
from fondaco.characters.ours import document, ours
from fondaco.characters.persona import Turn, staged

EACH = pytest.mark.parametrize("slug", ours())


def test_there_are_a_dozen_and_they_differ() -> None:
    assert len(ours()) == 12
    for told in ("name", "description", "first_mes", "personality", "creator_notes"):
        assert len({getattr(character.card, told) for character in ours().values()}) == 12
    assert 3 <= sum(character.featured for character in ours().values()) <= 6


@EACH
def test_each_is_whole_and_short_enough_for_a_small_model(slug: str) -> None:
    character = ours()[slug]
    card = character.card
    assert SLUG.fullmatch(slug)
    assert character.blurb
    assert 3 <= len(character.tags) <= 6
    assert not character.adult
    for text in (card.description, card.personality, card.first_mes):
        assert text
        assert "  " not in text
    part = staged(card, [Turn(False, "Hello")], user=None, original="", context_tokens=32_768)
    # About 700 tokens at the most: a CPU reads them in seconds, and only once.
    assert 400 < len(part.system) < 2300
    assert "{{" not in part.system + part.greeting + part.closing
    assert part.greeting
    assert not part.replaces_prompt


@EACH
def test_each_can_be_taken_elsewhere_and_brought_back(slug: str) -> None:
    exported = document(slug)
    data = json.loads(exported)["data"]
    assert data["creator"] == "Fondaco"
    assert {"alternate_greetings", "group_only_greetings", "extensions"} <= set(data)
    assert opened(exported).read.card == ours()[slug].card


def test_marina_knows_of_portugal_only_when_it_is_spoken_of() -> None:
    card = ours()["marina"].card

    def told(text: str) -> str:
        return staged(card, [Turn(False, text)], user="Tom", original="", context_tokens=32_768).system

    assert "Vasco da Gama" in told("Any news from Lisbon?")
    assert "Vasco da Gama" not in told("Good evening.")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Zoë Ångström", "zoe-angstrom"),
        ("  -- ", "character-"),
        ("さくら", "character-"),
        ("A" * 300, "a" * 80),
        ("Dr. O'Neil (v2)", "dr-o-neil-v2"),
    ],
)
def test_a_slug_is_made_of_a_name(name: str, slug: str) -> None:
    made = slug_of(name)
    assert SLUG.fullmatch(made)
    assert made == slug or (slug.endswith("-") and made.startswith(slug))
    assert slug_of("さくら") != slug_of("ゆき")

"""Which characters a list shows, and in which order (CONTRACT 12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fondaco.characters.card import Card
from fondaco.characters.character import Character
from fondaco.characters.listing import chosen
from fondaco.characters.wire import ListQuery, row

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def character(name: str, day: int, *tags: str, notes: str = "", **more: Any) -> Character:
    at = BORN + timedelta(days=day)
    card = Card(name=name, tags=list(tags), creator_notes=notes)
    return Character(slug=name.lower(), id=name, card=card, created_at=at, updated_at=at, **more)


CAST = [
    character("Cleo", 3, "History", "Egypt", notes="Queen of the Nile", featured=True),
    character("alan", 1, "Philosophy", adult=True),
    character("Bea", 2, "history", "cooking", web_enabled=True, model_id="m-2"),
    character("Dan", 4, notes="Cooks on the Nile"),
]


def names(**query: Any) -> list[str]:
    return [each.card.name for each in chosen(CAST, ListQuery(**query), "m-1")]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["Cleo", "Dan", "Bea", "alan"]),
        ({"search": "nile"}, ["Cleo", "Dan"]),
        ({"search": "NILE queen"}, ["Cleo"]),
        ({"search": "cook"}, ["Dan", "Bea"]),
        ({"search": "#cooking"}, ["Bea"]),
        ({"search": "#cook"}, []),
        ({"search": "#history bea"}, ["Bea"]),
        ({"search": "#"}, []),
        ({"search": "  "}, ["Cleo", "Dan", "Bea", "alan"]),
        ({"tags": ["HISTORY"]}, ["Cleo", "Bea"]),
        ({"tags": ["egypt", "cooking"]}, ["Cleo", "Bea"]),
        ({"categories": ["philosophy"]}, ["alan"]),
        ({"tags": ["history"], "categories": ["egypt"]}, ["Cleo"]),
        ({"model_id": ["m-1"]}, ["Cleo", "Dan", "alan"]),
        ({"model_id": ["m-2", "m-3"]}, ["Bea"]),
        ({"is_adult": "true"}, ["alan"]),
        ({"is_adult": "false"}, ["Cleo", "Dan", "Bea"]),
        ({"is_web_enabled": "true"}, ["Bea"]),
        ({"is_pro": "true"}, []),
        ({"is_pro": "false"}, ["Cleo", "Dan", "Bea", "alan"]),
        ({"limit": 2}, ["Cleo", "Dan"]),
        ({"limit": 2, "offset": 3}, ["alan"]),
        ({"offset": 4}, []),
        ({"offset": None}, ["Cleo", "Dan", "Bea", "alan"]),
        ({"sort_by": "mostRecent"}, ["Dan", "Cleo", "Bea", "alan"]),
        ({"sort_by": "mostRecent", "sort_order": "asc"}, ["alan", "Bea", "Cleo", "Dan"]),
        ({"sort_by": "highlyRatedAndRecent"}, ["Dan", "Cleo", "Bea", "alan"]),
        ({"sort_order": "asc"}, ["alan", "Bea", "Dan", "Cleo"]),
        ({"sort_by": "imports"}, ["alan", "Bea", "Cleo", "Dan"]),
        ({"sort_by": "ratingCount", "sort_order": "asc"}, ["alan", "Bea", "Cleo", "Dan"]),
        ({"sort_by": "highestRating"}, ["alan", "Bea", "Cleo", "Dan"]),
        ({"sort_by": "highlyRated"}, ["alan", "Bea", "Cleo", "Dan"]),
    ],
)
def test_a_list_is_filtered_sorted_and_cut(query: dict[str, Any], found: list[str]) -> None:
    assert names(**query) == found


def test_what_people_are_told_is_not_what_the_model_is_told() -> None:
    card = Card(name="Nell", description="SECRET", creator_notes=" x" * 1000)
    nell = Character(slug="nell", id="1", card=card, created_at=BORN, updated_at=BORN)
    shown = row(nell, "m").description
    assert shown is not None
    assert len(shown) <= 1000
    assert "SECRET" not in shown
    assert row(character("A", 0), "m").description is None


def test_an_author_is_five_letters_and_the_same_for_the_same_maker() -> None:
    made = [
        Character(slug="a", id="1", card=Card(name="A", creator=by), created_at=BORN, updated_at=BORN).author
        for by in ("ann", "ann", "bob", None)
    ]
    assert made[0] == made[1] != made[2]
    assert all(len(author) == 5 and author.isalnum() for author in made)

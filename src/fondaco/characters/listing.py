"""Which characters a list shows, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from fondaco.characters.character import Character
from fondaco.characters.wire import ListQuery, SortBy


def chosen(characters: Iterable[Character], query: ListQuery, default_model: str) -> list[Character]:
    """One page. `default_model` is that of characters which are recommended for none in particular."""
    found = [character for character in characters if _fits(character, query, default_model)]
    found.sort(key=lambda character: (character.card.name.lower(), character.slug))
    # What is equal stays in the order of names, whichever way the rest is turned.
    found.sort(key=_ORDERS[query.sort_by], reverse=query.sort_order == "desc")
    start = query.offset or 0
    return found[start : start + query.limit]


def _fits(character: Character, query: ListQuery, default_model: str) -> bool:
    tags = {tag.strip().lower() for tag in character.tags}
    return (
        _is(character.adult, query.is_adult)
        and _is(character.web_enabled, query.is_web_enabled)
        # Nobody has to pay to be let in here.
        and query.is_pro != "true"
        and (not query.model_id or (character.model_id or default_model) in query.model_id)
        # Cards have tags and no categories: either filter looks at them.
        and _any(query.tags, tags)
        and _any(query.categories, tags)
        and _found(query.search, character, tags)
    )


def _is(value: bool, asked: str | None) -> bool:
    return asked is None or value == (asked == "true")


def _any(asked: Sequence[str], tags: set[str]) -> bool:
    return not asked or any(word.strip().lower() in tags for word in asked)


def _found(search: str, character: Character, tags: set[str]) -> bool:
    """Every word in the name, the description or a tag; `#word` is a tag."""
    text = "\n".join((character.card.name, character.blurb or "", *tags)).lower()
    return all(
        (word[1:] in tags) if word.startswith("#") and len(word) > 1 else word in text
        for word in search.lower().split()
    )


_Key = tuple[bool | datetime | int, ...]

# Nobody rates or imports here, so that by ratings and imports all are alike.
_ORDERS: Mapping[SortBy, Callable[[Character], _Key]] = {
    "featured": lambda character: (character.featured, character.created_at),
    "mostRecent": lambda character: (character.created_at,),
    "highlyRatedAndRecent": lambda character: (character.created_at,),
    "highestRating": lambda _: (0,),
    "highlyRated": lambda _: (0,),
    "imports": lambda _: (0,),
    "ratingCount": lambda _: (0,),
}

"""Characters as the API has them (CONTRACT 12)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fondaco.characters.character import Character

SortBy = Literal[
    "featured", "highestRating", "highlyRated", "highlyRatedAndRecent", "imports", "mostRecent", "ratingCount"
]
Flag = Literal["true", "false"]
Words = Annotated[list[Annotated[str, Meta(max_length=100)]], Meta(max_length=20)]
ModelIds = Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=20)]
Search = Annotated[str, Meta(max_length=200)]
Limit = Annotated[int, Meta(gt=0, le=100)]
Offset = Annotated[int, Meta(ge=0)]
Page = Annotated[int, Meta(gt=0, le=2**31 - 1)]


class ListQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    search: Search = ""
    categories: Words = []
    tags: Words = []
    model_id: ModelIds = []
    is_adult: Flag | None = None
    is_pro: Flag | None = None
    is_web_enabled: Flag | None = None
    sort_by: SortBy = "featured"
    sort_order: Literal["asc", "desc"] = "desc"
    limit: Limit = 50
    offset: Offset | None = 0


class ReviewsQuery(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    page: Page = 1
    page_size: Limit = 20


class Stats(msgspec.Struct, frozen=True, rename="camel"):
    """Nobody is counted here, and nobody rates."""

    average_rating: float = 0
    imports: int = 0
    rating_count: int = 0
    rating_sum: int = 0
    user_rating: float | None = None


class CharacterRow(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    id: str
    slug: str
    name: str
    description: str | None
    adult: bool
    author: str
    featured: bool
    web_enabled: bool
    tags: list[str]
    created_at: str
    updated_at: str
    photo_url: str | None = None
    share_url: str | None = None
    model_id: str
    stats: Stats = Stats()


class CharacterList(msgspec.Struct, frozen=True):
    data: list[CharacterRow]
    object: Literal["list"] = "list"


class CharacterAnswer(msgspec.Struct, frozen=True):
    data: CharacterRow
    object: Literal["character"] = "character"


class Review(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    id: str
    character_id: str
    created_at: str
    rating: Annotated[int, Meta(ge=1, le=5)]
    message: str | None
    locale: str | None
    username: str
    user_avatar_url: str | None
    is_owner: bool


class Pagination(msgspec.Struct, frozen=True, rename="camel"):
    page: int
    page_size: int
    total: int
    total_pages: int


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    average_rating: float
    total_reviews: int


class ReviewPage(msgspec.Struct, frozen=True):
    data: list[Review]
    pagination: Pagination
    summary: Summary
    object: Literal["list"] = "list"


def row(character: Character, model_id: str) -> CharacterRow:
    """`model_id` is for a character that is recommended for no model in particular."""
    return CharacterRow(
        id=character.id,
        slug=character.slug,
        name=character.card.name,
        description=character.blurb,
        adult=character.adult,
        author=character.author,
        featured=character.featured,
        web_enabled=character.web_enabled,
        tags=character.tags,
        created_at=_time(character.created_at),
        updated_at=_time(character.updated_at),
        model_id=character.model_id or model_id,
    )


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"

"""GET /characters, /characters/{slug} and /characters/{slug}/reviews (CONTRACT 12)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw

from fondaco.characters.listing import chosen
from fondaco.characters.roster import Roster
from fondaco.characters.wire import (
    CharacterAnswer,
    CharacterList,
    Flag,
    Limit,
    ListQuery,
    ModelIds,
    Offset,
    Page,
    Pagination,
    ReviewPage,
    ReviewsQuery,
    Search,
    SortBy,
    Summary,
    Words,
    row,
)
from fondaco.http.call import Call
from fondaco.http.openapi import Operation, Query
from fondaco.http.reply import Header, Reply, json_reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode

T = TypeVar("T")

_LISTS = frozenset({"tags", "categories", "modelId"})
_INTEGERS = frozenset({"limit", "offset", "page", "pageSize"})
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)


def routes(roster: Roster, default_model: Callable[[], str]) -> list[Route]:
    """`default_model` is the id for characters that are recommended for none in particular."""

    async def list_characters(call: Call) -> Reply:
        """GET /characters."""
        query, model = _read(call, ListQuery), default_model()
        page = chosen(roster.enabled(), query, model)
        answer = CharacterList([row(character, model) for character in page])
        return Reply(msgspec.json.encode(answer), compressible=True)

    async def get_character(call: Call) -> Reply:
        """GET /characters/{slug}."""
        return json_reply(CharacterAnswer(row(roster.find(call.path_params["slug"]), default_model())))

    async def list_reviews(call: Call) -> Reply:
        """GET /characters/{slug}/reviews: nobody writes any on a server of one's own."""
        roster.find(call.path_params["slug"])
        query = _read(call, ReviewsQuery)
        at = Pagination(page=query.page, page_size=query.page_size, total=0, total_pages=0)
        headers: tuple[Header, ...] = (
            (b"x-pagination-limit", b"%d" % at.page_size),
            (b"x-pagination-page", b"%d" % at.page),
            (b"x-pagination-total", b"%d" % at.total),
            (b"x-pagination-total-pages", b"%d" % at.total_pages),
        )
        return Reply(msgspec.json.encode(ReviewPage([], at, Summary(0, 0))), headers=headers)

    def about(path: str, summary: str, answer: Any, errors: tuple[int, ...], *query: Query) -> Operation:
        return Operation(
            method="GET",
            path=path,
            summary=summary,
            tag="Characters",
            answer=answer,
            query=query,
            errors=errors,
        )

    return [
        Route(
            list_characters,
            about(
                "/characters",
                "Characters to talk to",
                CharacterList,
                (400,),
                Query("search", Search, "Words in name, description or tags; `#word` is a tag"),
                Query("categories", Words, "With any of these; repeated or with commas"),
                Query("tags", Words, "With any of these; repeated or with commas"),
                Query("modelId", ModelIds, "Recommended for any of these models"),
                Query("isAdult", Flag, "Only those that are for adults, or only the others"),
                Query("isPro", Flag, "No character here needs a paid plan"),
                Query(
                    "isWebEnabled", Flag, "Only those that are meant to search the web, or only the others"
                ),
                Query("sortBy", SortBy, "`featured` if absent. Nobody rates here: by ratings all are alike"),
                Query("sortOrder", Literal["asc", "desc"], "`desc` if absent"),
                Query("limit", Limit, "50 if absent"),
                Query("offset", Offset, "How many to skip"),
            ),
        ),
        Route(
            get_character,
            about("/characters/{slug}", "One character", CharacterAnswer, (404,)),
        ),
        Route(
            list_reviews,
            about(
                "/characters/{slug}/reviews",
                "What users say of a character: nothing is kept here",
                ReviewPage,
                (400, 404),
                Query("page", Page, "From 1"),
                Query("pageSize", Limit, "20 if absent"),
            ),
        ),
    ]


def _read(call: Call, type_: type[T]) -> T:
    """The query as a `type_`, by the same reading that bodies get. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    for written, text in parse_qsl(call.query_string.decode("latin-1"), keep_blank_values=True):
        name = written.removesuffix("[]")
        if name in _LISTS:
            fields.setdefault(name, []).extend(word for word in text.split(",") if word.strip())
        elif name in _INTEGERS and _INTEGER.fullmatch(text):
            fields[name] = Raw(text.encode())
        elif text or name == "search":
            fields[name] = text
    return decode(msgspec.json.encode(fields), type_)

"""The three endpoints' requests and answers, as the contract has them (CONTRACT 13)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fondaco.augment.results import Result
from fondaco.content import Sealed


class SearchRequest(Sealed, kw_only=True):
    query: Annotated[str, Meta(min_length=1, max_length=400)]
    limit: Annotated[int, Meta(ge=1, le=20)] | None = None
    search_provider: Literal["brave", "google"] | None = None


class SearchAnswer(Sealed, kw_only=True):
    query: str
    results: list[Result]


class ScrapeRequest(Sealed, kw_only=True):
    url: str


class ScrapeAnswer(Sealed, kw_only=True):
    url: str
    """As it was asked for."""
    content: str
    format: Literal["markdown"] = "markdown"


class ParseRequest(Sealed, kw_only=True):
    """The form's fields beside `file`. Others are passed over."""

    response_format: Literal["json", "text"] = "json"


class ParsedText(Sealed, kw_only=True):
    text: str
    tokens: int
    """One for 3.2 characters."""


def encoded(answer: SearchAnswer | ScrapeAnswer | ParsedText) -> bytes:
    return msgspec.json.encode(answer)

"""SearXNG by its JSON API (`GET /search?format=json`), which its settings must allow: `search.formats` with `json`."""

from __future__ import annotations

from typing import Any

import msgspec

from fondaco.augment.providers.provider import ProviderFailed, answer
from fondaco.augment.results import Result, result
from fondaco.content import Sealed
from fondaco.settings import SearchSettings

_SAFE = {"off": "0", "moderate": "1", "strict": "2"}


class _Row(Sealed):
    url: str | None = None
    title: str | None = None
    content: str | None = None
    publishedDate: str | None = None  # noqa: N815


class _Answer(Sealed):
    results: list[_Row]
    unresponsive_engines: list[Any] = msgspec.field(default_factory=list[Any])


class Searxng:
    name = "searxng"

    def __init__(self, url: str, settings: SearchSettings) -> None:
        """`url` is where the instance stands; its `/search` is asked."""
        self._url = url.rstrip("/").removesuffix("/search") + "/search"
        self._settings = settings

    async def search(self, query: str, limit: int) -> list[Result]:
        params = {"q": query, "format": "json", "safesearch": _SAFE[self._settings.safe_search]}
        if self._settings.language:
            params["language"] = self._settings.language
        told = await answer(_Answer, "GET", self._url, params=params, seconds=self._settings.seconds)
        if not told.results and told.unresponsive_engines:
            raise ProviderFailed("no usable answer")  # it is there, but those that it asks are not
        rows = [result(row.title, row.url, row.content, row.publishedDate) for row in told.results]
        return [row for row in rows if row is not None][:limit]

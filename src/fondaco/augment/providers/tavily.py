"""Tavily by its search API, which wants a key."""

from __future__ import annotations

import msgspec

from fondaco.augment.providers.provider import ProviderFailed, answer
from fondaco.augment.results import Result, result
from fondaco.content import Sealed
from fondaco.settings import SearchSettings

_MOST = 20


class _Row(Sealed):
    url: str | None = None
    title: str | None = None
    content: str | None = None
    published_date: str | None = None


class _Answer(Sealed):
    results: list[_Row]


class Tavily:
    name = "tavily"

    def __init__(self, url: str, key: str, settings: SearchSettings) -> None:
        self._url = url
        self._key = key
        self._settings = settings

    async def search(self, query: str, limit: int) -> list[Result]:
        if not self._key:
            raise ProviderFailed("no key")
        asked: dict[str, object] = {"query": query, "max_results": min(limit, _MOST), "search_depth": "basic"}
        if self._settings.safe_search != "off":
            asked["safe_search"] = True
        told = await answer(
            _Answer,
            "POST",
            self._url,
            headers={"authorization": f"Bearer {self._key}"},
            body=msgspec.json.encode(asked),
            seconds=self._settings.seconds,
        )
        rows = [result(row.title, row.url, row.content, row.published_date) for row in told.results]
        return [row for row in rows if row is not None][:limit]

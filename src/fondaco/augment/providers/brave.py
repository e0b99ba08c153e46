"""Brave Search by its web search API, which wants a key."""

from __future__ import annotations

import msgspec

from fondaco.augment.providers.provider import ProviderFailed, answer
from fondaco.augment.results import Result, result
from fondaco.content import Sealed
from fondaco.settings import SearchSettings

_MOST = 20
_MAX_CHARACTERS = 400
_MAX_WORDS = 50


class _Row(Sealed):
    url: str | None = None
    title: str | None = None
    description: str | None = None
    page_age: str | None = None
    extra_snippets: list[str] = msgspec.field(default_factory=list[str])


class _Web(Sealed):
    results: list[_Row] = msgspec.field(default_factory=list[_Row])


class _Answer(Sealed):
    web: _Web | None = None


class Brave:
    name = "brave"

    def __init__(self, url: str, key: str, settings: SearchSettings) -> None:
        self._url = url
        self._key = key
        self._settings = settings

    async def search(self, query: str, limit: int) -> list[Result]:
        if not self._key:
            raise ProviderFailed("no key")
        params = {
            "q": " ".join(query.split()[:_MAX_WORDS])[:_MAX_CHARACTERS],
            "count": str(min(limit, _MOST)),
            "safesearch": self._settings.safe_search,
            "text_decorations": "false",
            "extra_snippets": "true",
            "result_filter": "web",
        }
        if self._settings.language:
            language, _, country = self._settings.language.partition("-")
            params |= {"search_lang": language, **({"country": country} if country else {})}
        told = await answer(
            _Answer,
            "GET",
            self._url,
            params=params,
            headers={"x-subscription-token": self._key},
            seconds=self._settings.seconds,
        )
        rows = [
            result(row.title, row.url, " ".join([row.description or "", *row.extra_snippets]), row.page_age)
            for row in (told.web.results if told.web else [])
        ]
        return [row for row in rows if row is not None][:limit]

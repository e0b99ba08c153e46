"""`ddgs`, which reads the result pages of public search engines: no key, and no promise of theirs either."""

from __future__ import annotations

import asyncio
import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fondaco.augment.providers.provider import ProviderFailed
from fondaco.augment.results import Result, result
from fondaco.settings import SearchSettings

_SAFE = {"off": "off", "moderate": "moderate", "strict": "on"}
_NOTHING = "No results found."
_AT_ONCE = 8


class Ddgs:
    name = "ddgs"

    def __init__(self, settings: SearchSettings) -> None:
        self._settings = settings
        # Of its own: it goes on after we have given it up, and must not hold up what else threads do here.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ddgs")

    async def search(self, query: str, limit: int) -> list[Result]:
        try:
            async with asyncio.timeout(self._settings.seconds):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._threads, self._search, query, limit
                )
        except TimeoutError:
            raise ProviderFailed("too slow") from None
        rows = [result(row.get("title"), row.get("href"), row.get("body"), row.get("date")) for row in found]
        return [row for row in rows if row is not None]

    def _search(self, query: str, limit: int) -> list[dict[str, Any]]:
        try:
            ddgs: Any = importlib.import_module("ddgs")
        except ImportError:
            raise ProviderFailed("not installed") from None
        asked: dict[str, Any] = {"max_results": limit, "safesearch": _SAFE[self._settings.safe_search]}
        if self._settings.language:
            language, _, country = self._settings.language.partition("-")
            asked["region"] = f"{(country or language).lower()}-{language}"
        try:
            return ddgs.DDGS(timeout=max(1, int(self._settings.seconds))).text(query, **asked)
        except Exception as error:
            # Its words, and those of what it raised it for, may quote the query.
            if str(error) == _NOTHING:
                return []
            raise ProviderFailed("too slow" if "timed out" in str(error) else "unreachable") from None

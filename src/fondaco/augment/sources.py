"""All that models can be told from outside, made from the settings and kept together."""

from __future__ import annotations

import os
from pathlib import Path

from fondaco.augment.documents import Documents
from fondaco.augment.firecrawl import Firecrawl
from fondaco.augment.index.index import Index
from fondaco.augment.meaning import Embedder
from fondaco.augment.providers import providers_of
from fondaco.augment.scrape import DirectScraper, Scraper
from fondaco.augment.search import Search
from fondaco.net.fetching import Fetcher
from fondaco.net.guard import Guard
from fondaco.settings import NetSettings, SearchSettings


def fetcher_of(net: NetSettings) -> Fetcher:
    guard = Guard(net.allow_hosts, net.ports)
    return Fetcher(guard, max_bytes=net.max_bytes, seconds=net.seconds)


class Sources:
    """Belongs to one event loop; `close` it there. Nothing is connected to or started before it is asked for."""

    def __init__(
        self, net: NetSettings, search: SearchSettings, data_dir: Path, embedder: Embedder | None = None
    ) -> None:
        """`embedder` compares meanings; without one, words alone are searched."""
        self.fetcher = fetcher_of(net)
        self.documents = Documents()
        self.index = Index(data_dir, embedder)
        self.search = Search(providers_of(search), self.index, embedder, max_results=search.max_results)
        self.scraper: Scraper = DirectScraper(self.fetcher, self.documents)
        if search.scraper == "firecrawl":
            key = os.environ.get(search.firecrawl_key_env, "")
            self.scraper = Firecrawl(search.firecrawl_url, key, self.fetcher, net.seconds)

    async def close(self) -> None:
        await self.documents.close()
        await self.index.close()

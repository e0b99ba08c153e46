"""One page of the web as text, through the guarded fetcher or by the operator's Firecrawl."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from fondaco.augment.documents import MAX_CHARACTERS, Unparsable
from fondaco.augment.parsing.wire import Job, Parsed
from fondaco.content import Sealed
from fondaco.net.errors import FetchError, Refused
from fondaco.net.fetching import Fetched

PAGES = "text/html,application/xhtml+xml,text/plain;q=0.9,application/pdf;q=0.8,*/*;q=0.5"

_CLOSED = ("x.com", "twitter.com", "reddit.com", "redd.it")
"""Sites that turn every fetcher away; the contract refuses them at once."""

Blame: TypeAlias = Literal["url", "page"]


class Page(Sealed):
    """`text` is Markdown. `date` is `YYYY-MM-DD`, or empty."""

    url: str
    """As it was asked for."""
    title: str
    text: str
    date: str = ""


class ScrapeFailed(Exception):
    """`sentence` is for the caller. To blame is the URL, which should not be asked again, or the page behind it."""

    def __init__(self, blame: Blame, sentence: str) -> None:
        super().__init__(blame)
        self.blame: Blame = blame
        self.sentence = sentence


class Scraper(Protocol):
    async def scrape(self, url: str, account: str | None = None) -> Page:
        """`account` is for whom. Raises ScrapeFailed."""
        ...


class Fetching(Protocol):
    """See `fondaco.net.fetching`."""

    async def fetch(self, url: str, *, accept: str = "*/*", max_bytes: int | None = None) -> Fetched: ...


class Reading(Protocol):
    """See `fondaco.augment.documents`."""

    async def read(self, job: Job, data: bytes | memoryview, account: str | None = None) -> Parsed: ...


class DirectScraper:
    """Fetches pages itself. What comes is read, and never run."""

    def __init__(self, fetcher: Fetching, documents: Reading) -> None:
        self._fetcher = fetcher
        self._documents = documents

    async def scrape(self, url: str, account: str | None = None) -> Page:
        refuse_closed(url)
        try:
            found = await self._fetcher.fetch(url, accept=PAGES)
            refuse_closed(found.url)
            job = Job(
                media_type=found.content_type,
                charset=found.charset,
                url=found.url,
                max_characters=MAX_CHARACTERS,
            )
            parsed = await self._documents.read(job, found.body, account)
        except FetchError as error:
            raise failed(error) from None
        except Unparsable as unparsable:
            blame = "url" if unparsable.fault == "unsupported" else "page"
            raise ScrapeFailed(blame, f"The page could not be read: {unparsable.sentence}.") from None
        if not parsed.text:
            raise ScrapeFailed("page", "The page has no text.")
        return Page(url, parsed.title, parsed.text, parsed.date)


def failed(error: FetchError) -> ScrapeFailed:
    """What the fetcher says, for a caller."""
    if isinstance(error, Refused):
        return ScrapeFailed("url", f"This URL is not fetched: {error.sentence}.")
    return ScrapeFailed("page", f"The page could not be fetched: {error.sentence}.")


def refuse_closed(url: str) -> None:
    """Raises ScrapeFailed for a site that lets nobody in."""
    try:
        host = (urlsplit(url).hostname or "").lower().removesuffix(".")
    except ValueError:
        return
    if any(host == site or host.endswith("." + site) for site in _CLOSED):
        raise ScrapeFailed("url", "This site blocks automated access, so it is not fetched.")

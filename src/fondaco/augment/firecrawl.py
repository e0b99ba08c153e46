"""Firecrawl's API as the one who reads pages: it runs their scripts, elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from fondaco.augment.results import day
from fondaco.augment.scrape import Page, ScrapeFailed, failed, refuse_closed
from fondaco.content import Sealed
from fondaco.net.asking import ask
from fondaco.net.errors import FetchError

MAX_ANSWER = 16 * 1024 * 1024


class Checking(Protocol):
    """See `fondaco.net.fetching`."""

    async def check(self, url: str) -> str: ...


class _Metadata(Sealed):
    title: str | list[str] | None = None
    statusCode: int | None = None  # noqa: N815
    publishedTime: str | list[str] | None = None  # noqa: N815
    modifiedTime: str | list[str] | None = None  # noqa: N815


class _Data(Sealed):
    markdown: str | None = None
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Answer(Sealed):
    success: bool = False
    data: _Data | None = None


class Firecrawl:
    def __init__(self, url: str, key: str, checks: Checking, seconds: float) -> None:
        """`checks` refuses URLs that we would not fetch ourselves: it may stand where it reaches more than we do."""
        self._url = url.rstrip("/") + "/v2/scrape"
        self._key = key
        self._checks = checks
        self._seconds = seconds

    async def scrape(self, url: str, account: str | None = None) -> Page:
        """Raises ScrapeFailed."""
        refuse_closed(url)
        try:
            asked: dict[str, Any] = {
                "url": await self._checks.check(url),
                "formats": ["markdown"],
                "onlyMainContent": True,
                "timeout": int(1000 * self._seconds),
            }
            raw = await ask(
                "POST",
                self._url,
                headers={"authorization": f"Bearer {self._key}"} if self._key else None,
                body=msgspec.json.encode(asked),
                seconds=self._seconds,
                max_bytes=MAX_ANSWER,
            )
            told = msgspec.json.decode(raw, type=_Answer)
        except FetchError as error:
            raise failed(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ScrapeFailed(
                "page", "The page could not be fetched: the scraping service gave no usable answer."
            ) from None
        if not told.success or told.data is None or (told.data.metadata.statusCode or 200) >= 400:
            raise ScrapeFailed("page", "The page could not be fetched.")
        if not told.data.markdown:
            raise ScrapeFailed("page", "The page has no text.")
        facts = told.data.metadata
        return Page(
            url,
            _first(facts.title),
            told.data.markdown,
            day(_first(facts.publishedTime) or _first(facts.modifiedTime)),
        )


def _first(said: str | list[str] | None) -> str:
    """Of what a page says, some of it more than once."""
    return (said[0] if said else "") if isinstance(said, list) else said or ""

"""Search, scraping and document text as endpoints of their own: admitted, held, charged when there is an answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from math import ceil
from typing import Protocol

import msgspec

from fondaco.augment.documents import Unparsable
from fondaco.augment.scrape import ScrapeFailed, Scraper
from fondaco.augment.search import Found
from fondaco.augment.wire import ParsedText, ScrapeAnswer, ScrapeRequest, SearchAnswer, SearchRequest
from fondaco.billing.line import Bill, total
from fondaco.billing.prices.services import (
    AUGMENT_SCRAPE,
    AUGMENT_SEARCH,
    AUGMENT_TEXT_PARSER,
    Service,
    service_bill,
)
from fondaco.billing.use import Use
from fondaco.clock import Clock
from fondaco.errors import InvalidRequest, PageUnavailable, SearchUnavailable
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd

DEFAULT_LIMIT = 10
"""Results of a search that names no limit, as the contract has it."""

_CHARACTERS_PER_TOKEN = 3.2


class Endpoint(msgspec.Struct, frozen=True):
    """What limits and money know of an endpoint: its name where a model's id stands, and its row of the rate table."""

    id: str
    tier: str
    service: Service


SEARCH = Endpoint("endpoint:api/v1/augment/search", "augment_search", AUGMENT_SEARCH)
SCRAPE = Endpoint("endpoint:api/v1/augment/scrape", "augment_scrape", AUGMENT_SCRAPE)
TEXT_PARSER = Endpoint("endpoint:api/v1/augment/text-parser", "augment_scrape", AUGMENT_TEXT_PARSER)


class Metered(Protocol):
    """An admitted request's rate and money; see `fondaco.billing.meter`."""

    @property
    def walled(self) -> bool: ...
    async def hold(self, ceiling: NanoUsd, least: NanoUsd | None = None) -> NanoUsd: ...
    def settle(self, bill: Bill, use: Use, tokens: int = 0) -> Awaitable[NanoUsd]: ...
    def void(self) -> None: ...


class Meter(Protocol):
    async def admit(self, ticket: Ticket, model: Endpoint, tokens: int = 0) -> Metered: ...


class Searching(Protocol):
    """See `fondaco.augment.search`."""

    async def search(self, query: str, limit: int | None = None, *, first: str | None = None) -> Found: ...


class Parsing(Protocol):
    """See `fondaco.augment.documents`."""

    async def parse(self, data: bytes | memoryview, name: str = "", account: str | None = None) -> str: ...


class AugmentService:
    """What fails costs nothing, and neither does what its client did not wait for."""

    def __init__(
        self, search: Searching, scraper: Scraper, documents: Parsing, meter: Meter, clock: Clock
    ) -> None:
        self._search = search
        self._scraper = scraper
        self._documents = documents
        self._meter = meter
        self._clock = clock

    async def search(self, ticket: Ticket, request: SearchRequest) -> SearchAnswer:
        """Raises RateLimitExceeded, PaymentRequired, LedgerUnavailable, InvalidRequest, SearchUnavailable."""
        if not request.query.strip():
            raise InvalidRequest.at(
                "query", message="String must contain at least 1 character(s) that are not blank"
            )
        async with self._charged(ticket, SEARCH):
            found = await self._search.search(
                request.query, request.limit or DEFAULT_LIMIT, first=request.search_provider
            )
            if found.error is not None:
                raise SearchUnavailable(found.error)
        return SearchAnswer(query=request.query, results=found.results)

    async def scrape(self, ticket: Ticket, request: ScrapeRequest) -> ScrapeAnswer:
        """Raises RateLimitExceeded, PaymentRequired, LedgerUnavailable, InvalidRequest, PageUnavailable."""
        async with self._charged(ticket, SCRAPE):
            try:
                page = await self._scraper.scrape(request.url, ticket.caller.account_id)
            except ScrapeFailed as failed:
                if failed.blame == "url":
                    raise InvalidRequest.at("url", message=failed.sentence) from None
                raise PageUnavailable(failed.sentence) from None
        return ScrapeAnswer(url=request.url, content=page.text)

    async def parse(self, ticket: Ticket, data: bytes | memoryview, name: str) -> ParsedText:
        """Raises RateLimitExceeded, PaymentRequired, LedgerUnavailable, InvalidRequest."""
        async with self._charged(ticket, TEXT_PARSER):
            try:
                text = await self._documents.parse(data, name, ticket.caller.account_id)
            except Unparsable as unparsable:
                raise InvalidRequest.at(
                    "file", message=f"The file cannot be read: {unparsable.sentence}"
                ) from None
            if not text:
                raise InvalidRequest.at("file", message="There is no text in the file")
        return ParsedText(text=text, tokens=ceil(len(text) / _CHARACTERS_PER_TOKEN))

    @asynccontextmanager
    async def _charged(self, ticket: Ticket, endpoint: Endpoint) -> AsyncGenerator[None]:
        """Admit, hold, and charge when what is inside has come to its end; durably, and nothing if it has not."""
        started = self._clock.monotonic()
        metered = await self._meter.admit(ticket, endpoint)
        try:
            bill = service_bill(endpoint.service)
            if metered.walled:
                await metered.hold(total(bill))
            yield
        except BaseException:
            metered.void()
            raise
        await metered.settle(bill, Use(execution_ms=int(1000 * (self._clock.monotonic() - started))))

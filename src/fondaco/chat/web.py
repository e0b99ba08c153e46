"""What a chat is told from the web: which errand its options send for, who runs it, and how the model is given it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from typing import Protocol

from msgspec import field
from msgspec.structs import replace

from fondaco.augment.addresses import addresses_in
from fondaco.augment.briefing import briefed
from fondaco.augment.excerpt import excerpts
from fondaco.augment.meaning import Embedder
from fondaco.augment.need import needs_search
from fondaco.augment.query import search_query
from fondaco.augment.results import MAX_CONTENT, Result, shortened
from fondaco.augment.scrape import ScrapeFailed, Scraper
from fondaco.augment.search import Found
from fondaco.billing.line import Bill
from fondaco.billing.prices.services import SCRAPE_IN_CHAT, SEARCH_IN_CHAT, Service, service_bill
from fondaco.chat import tool_prompt
from fondaco.chat.answer_wire import Citation
from fondaco.chat.messages import ChatMessage, DeveloperMessage, ImagePart, SystemMessage, UserMessage
from fondaco.chat.options import Options
from fondaco.chat.plan import Plan
from fondaco.content import Sealed
from fondaco.models.model import Model
from fondaco.models.registry import Resolved
from fondaco.models.serving import LocalServing

MAX_PAGES = 5
"""URLs of one message that are read."""

MAX_CHARACTERS = 12_000
"""Of search results that a model is given; twice as many of pages, which were asked for by name."""

_SMALL = 4
"""The smallest models read slowly and lose the thread: theirs is divided by this."""

_USUAL_CONTEXT = 8192
_USUAL_ANSWER = 1024
_BYTES_PER_TOKEN = 3
_LEAST_ROOM = 600
_HEADING = 1_200
"""Bytes of what a briefing says beside its sources."""

_AT_ONCE = 20_000
"""Characters that are read without leaving the event loop to others."""


class Errand(Sealed):
    """What is to be fetched for one chat."""

    question: str
    query: str
    """What to search for; empty where nothing is."""
    urls: tuple[str, ...]
    given: tuple[Result, ...]
    """Documents that the caller has named by URL, fetched already: as foreign as the rest, and free."""

    @property
    def ceiling(self) -> Bill:
        """The most that it can cost: a search is made only where no page could be read."""
        if self.urls:
            return service_bill(SCRAPE_IN_CHAT, len(self.urls))
        return service_bill(SEARCH_IN_CHAT, 1 if self.query else 0)


class Gathered(Sealed):
    """What the errand brought."""

    sources: list[Result] = field(default_factory=list[Result])
    given: int = 0
    """How many of them, the first ones, the caller has enclosed: they are free."""
    by: Service | None = None
    """What the others were got by."""
    failures: list[str] = field(default_factory=list[str])
    """Sentences on pages that could not be read, for the model."""
    error: str | None = None
    """What was to be found and was not, and why, for the caller."""
    told: list[Result] = field(default_factory=list[Result])
    """The sources as the model was given them."""

    @property
    def bill(self) -> Bill:
        """For the sources that are there: of what the model is not given nothing is paid."""
        found = len(self.sources) - self.given
        if self.by is None or found <= 0:
            return ()
        return service_bill(self.by, found if self.by is SCRAPE_IN_CHAT else 1)

    @property
    def citations(self) -> list[Citation]:
        """The sources as the answer lists them, in the order of their numbers."""
        return [
            Citation(
                title=source.title,
                url=source.url,
                content=shortened(source.content, MAX_CONTENT),
                date=source.date,
            )
            for source in self.sources
        ]


class Searching(Protocol):
    """See `fondaco.augment.search`."""

    async def search(self, query: str, limit: int | None = None, *, first: str | None = None) -> Found: ...


class Web:
    """Runs errands. What pages say never sends for anything: errands are made of the caller's words alone."""

    def __init__(
        self,
        search: Searching,
        scraper: Scraper,
        embedder: Embedder | None = None,
        max_characters: int = MAX_CHARACTERS,
    ) -> None:
        """`embedder` compares what is said with its sources, for citations."""
        self._search = search
        self._scraper = scraper
        self.embedder = embedder
        self._max_characters = max_characters
        self._brought: list[tuple[Errand, Gathered]] | None = None

    def once(self) -> Web:
        """The same for one request: however many models are tried for it, no errand is run twice."""
        made = copy(self)
        made._brought = []
        return made

    async def run(self, errand: Errand, account: str) -> Gathered:
        """Raises nothing. `account` takes its turn at reading. Pages that could be read are taken instead of a search."""
        if self._brought is None:
            return await self._run(errand, account)
        gathered = next((brought for earlier, brought in self._brought if earlier == errand), None)
        if gathered is None:
            gathered = await self._run(errand, account)
            self._brought.append((errand, gathered))
        # What one model has no room for, the next one may have.
        return replace(gathered, sources=list(gathered.sources))

    async def _run(self, errand: Errand, account: str) -> Gathered:
        pages: list[Result] = []
        failures: list[str] = []
        for url, read in zip(errand.urls, await self._read(errand.urls, account), strict=True):
            if isinstance(read, Result):
                pages.append(read)
            else:
                failures.append(f"{shortened(url, 200)}: {read}")
        gathered = Gathered(sources=list(errand.given), given=len(errand.given), failures=failures)
        gathered.error = " ".join(failures) or None
        if pages:
            gathered.sources += pages
            gathered.by = SCRAPE_IN_CHAT
            return gathered
        if errand.query:
            found = await self._search.search(errand.query)
            gathered.error = found.error or gathered.error
            if found.results:
                gathered.sources += found.results
                gathered.by, gathered.error = SEARCH_IN_CHAT, None
        return gathered

    async def _read(self, urls: Sequence[str], account: str) -> list[Result | str]:
        return await asyncio.gather(*(self._page(url, account) for url in urls))

    async def _page(self, url: str, account: str) -> Result | str:
        """The page, or why there is none."""
        try:
            page = await self._scraper.scrape(url, account)
        except ScrapeFailed as failed:
            return failed.sentence
        return Result(shortened(page.title, 300) or url, url, page.text, page.date)

    async def brief(
        self, gathered: Gathered, errand: Errand, options: Options, model: Model, room: int
    ) -> str:
        """What the model is given of what was found, within `room` bytes; empty where there is nothing to say.

        `gathered` has then only the sources that the model is given, so that numbers mean the same to all.
        """
        if sum(len(source.content) for source in gathered.sources) > _AT_ONCE:
            return await asyncio.to_thread(self._brief, gathered, errand, options, model, room)
        return self._brief(gathered, errand, options, model, room)

    def _brief(self, gathered: Gathered, errand: Errand, options: Options, model: Model, room: int) -> str:
        characters = self.characters(errand, model)
        # As `briefing_bound` promises.
        room = min(room, 8 * characters)
        while gathered.sources:
            # Bytes are what context is reckoned by, and some scripts have three or four to the character.
            if room < _LEAST_ROOM:
                gathered.sources = []
                gathered.error = "The conversation leaves no room in the model's context for what was found."
                break
            told = excerpts(gathered.sources, errand.question, min(characters, room))
            text = briefed(told, cite=options.enable_web_citations, failed=gathered.failures)
            if (size := len(text.encode())) <= room + _HEADING:
                gathered.told = told
                del gathered.sources[len(told) :]
                return text
            characters = min(characters, room) * room // size
            if characters < _LEAST_ROOM:
                room = 0
        text = briefed([], cite=False, failed=gathered.failures)
        return text if len(text.encode()) <= room + _HEADING else ""

    def briefing_bound(self, errand: Errand, model: Model, room: int) -> int:
        """More bytes than a briefing can have: each character has four at most, and may be given a space."""
        return max(0, min(room, 8 * self.characters(errand, model))) + 2 * _HEADING

    def characters(self, errand: Errand, model: Model) -> int:
        """About how much of its finds a model is given at most."""
        most = self._max_characters * (2 if errand.urls or errand.given else 1)
        return most // _SMALL if model.tier == "XS" else most


def errand_for(
    messages: Sequence[ChatMessage], options: Options, given: Sequence[Result] = ()
) -> Errand | None:
    """What the options ask to be fetched for the latest user message; None where that is nothing.

    Nothing is searched for what is asked of a picture, nor does `auto` search again for a tool's result.
    """
    asks = options.enable_web_search != "off" or options.enable_web_scraping
    if not asks and not given:
        return None
    spoken = [message for message in messages if isinstance(message, UserMessage)]
    if not spoken:
        return None
    said = tool_prompt.plain_text(spoken[-1].content)
    before = [tool_prompt.plain_text(message.content) for message in spoken[:-1]]
    urls = addresses_in(said, MAX_PAGES) if options.enable_web_scraping else []
    search = options.enable_web_search == "on" or (
        options.enable_web_search == "auto" and messages[-1] is spoken[-1] and needs_search(said, before)
    )
    search = search and not _shows_picture(spoken[-1])
    query = search_query(said, before) if search else ""
    if not (query or urls or given):
        return None
    return Errand(question=said, query=query, urls=tuple(urls), given=tuple(given))


def room(made: Plan, resolved: Resolved, choices: int) -> int:
    """How many bytes of what was found fit into the model's context beside the conversation and an answer."""
    model = resolved.model
    context = model.context_tokens or _USUAL_CONTEXT
    answer = min(made.completion_limit or _USUAL_ANSWER, _USUAL_ANSWER, context // 4)
    if type(resolved.served.serving) is LocalServing:
        # It must not be outgrown at all, and a byte may be a token.
        return context - made.prompt_bound - answer * choices
    return _BYTES_PER_TOKEN * (context - made.prompt_bound // _BYTES_PER_TOKEN - answer)


def with_briefing(messages: Sequence[ChatMessage], briefing: str) -> list[ChatMessage]:
    """The conversation with the briefing after its leading system messages."""
    heads = 0
    while heads < len(messages) and isinstance(messages[heads], (SystemMessage, DeveloperMessage)):
        heads += 1
    return [*messages[:heads], SystemMessage(content=briefing), *messages[heads:]]


def _shows_picture(message: UserMessage) -> bool:
    return isinstance(message.content, list) and any(isinstance(part, ImagePart) for part in message.content)

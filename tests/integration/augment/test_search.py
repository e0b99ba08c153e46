"""Search by each provider's API, by several in turn, and beside the local index."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from fake_search import BRAVE_KEY, TAVILY_KEY, SearchServices
from fondaco.augment.providers import ProviderFailed, providers_of
from fondaco.augment.results import Result
from fondaco.augment.search import Search
from fondaco.settings import SearchSettings
from odd_servers import OddServer, odd_server

pytestmark = pytest.mark.anyio

ROWS = [
    {
        "url": "https://a.test/tides",
        "title": "Tides",
        "content": "High water at <b>noon</b> &amp; midnight",
        "date": "2024-05-06T10:00:00",
    },
    {"url": "https://b.test/moon", "title": "The moon", "content": "It pulls at the sea and makes the tides"},
]
KEYS = {"BRAVE_API_KEY": BRAVE_KEY, "TAVILY_API_KEY": TAVILY_KEY}


@pytest.fixture
async def server() -> AsyncGenerator[OddServer]:
    async with odd_server() as server:
        yield server


@pytest.fixture
def services(server: OddServer) -> SearchServices:
    return SearchServices(server, [dict(row) for row in ROWS])


def settings(services: SearchServices, *providers: str, **further: Any) -> SearchSettings:
    return SearchSettings(
        providers=providers,  # pyright: ignore[reportArgumentType]
        searxng_url=services.url,
        brave_url=f"{services.url}/res/v1/web/search",
        tavily_url=f"{services.url}/tavily/search",
        **further,
    )


def search_by(services: SearchServices, *providers: str, **further: Any) -> Search:
    return Search(providers_of(settings(services, *providers, **further), KEYS))


@pytest.mark.parametrize("provider", ["searxng", "brave", "tavily"])
async def test_each_provider_is_asked_in_its_own_way(services: SearchServices, provider: str) -> None:
    found = await search_by(services, provider, safe_search="strict", language="de-CH").search(
        "when is high tide?", 5
    )
    assert found.error is None
    assert {each.url for each in found.results} == {"https://a.test/tides", "https://b.test/moon"}
    tides = next(each for each in found.results if each.title == "Tides")
    assert tides.content.startswith("High water at noon & midnight")
    assert tides.date == "2024-05-06"
    (asked,) = services.asked
    assert asked.get("q", asked.get("query")) == "when is high tide?"
    assert "cookie" not in asked["headers"]
    if provider == "searxng":
        assert (asked["safesearch"], asked["language"]) == ("2", "de-CH")
    if provider == "brave":
        assert (asked["search_lang"], asked["country"], asked["count"]) == ("de", "CH", "5")
        assert tides.content.endswith("And this besides.")


@pytest.mark.parametrize("provider", ["searxng", "brave", "tavily"])
async def test_to_find_nothing_is_an_answer(services: SearchServices, provider: str) -> None:
    services.rows = []
    found = await search_by(services, provider).search("tides", 5)
    assert (found.results, found.error) == ([], None)


@pytest.mark.parametrize("provider", ["searxng", "brave", "tavily"])
@pytest.mark.parametrize(
    ("status", "reason"),
    [(429, "rate limited"), (401, "refused"), (500, "no usable answer"), (302, "no usable answer")],
)
async def test_a_provider_that_fails_says_why(
    services: SearchServices, provider: str, status: int, reason: str
) -> None:
    services.status = status
    found = await search_by(services, provider).search("tides", 5)
    assert found.results == []
    assert found.error == f"No search provider answered ({provider}: {reason})."


async def test_a_searxng_that_gives_no_json_or_reaches_nobody_has_not_answered(
    services: SearchServices,
) -> None:
    services.json_allowed = False
    assert (await search_by(services, "searxng").search("tides")).error == (
        "No search provider answered (searxng: refused)."
    )
    services.json_allowed, services.rows = True, []
    services.unresponsive = [["google", "timeout"]]
    assert (await search_by(services, "searxng").search("tides")).error is not None


async def test_providers_without_a_key_or_with_a_wrong_one_fail(services: SearchServices) -> None:
    for provider, keys, reason in (
        ("brave", {}, "no key"),
        ("tavily", {}, "no key"),
        ("brave", {"BRAVE_API_KEY": "wrong"}, "refused"),
        ("tavily", {"TAVILY_API_KEY": "wrong"}, "refused"),
    ):
        (made,) = providers_of(settings(services, provider), keys)
        with pytest.raises(ProviderFailed) as failed:
            await made.search("tides", 5)
        assert failed.value.reason == reason


async def test_a_provider_that_is_slow_or_gone_is_given_up(
    services: SearchServices, server: OddServer
) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    server.pages["/search"] = never
    assert (await search_by(services, "searxng", seconds=0.2).search("tides")).error == (
        "No search provider answered (searxng: too slow)."
    )
    gone = SearchSettings(providers=("searxng",), searxng_url="http://127.0.0.1:9")
    assert (await Search(providers_of(gone)).search("tides")).error == (
        "No search provider answered (searxng: unreachable)."
    )


async def test_the_next_is_asked_when_one_fails_or_has_nothing(services: SearchServices) -> None:
    services.json_allowed = False
    found = await search_by(services, "searxng", "tavily").search("tides")
    assert found.error is None
    assert len(found.results) == 2
    assert len(services.asked) == 2


async def test_the_provider_that_a_caller_names_is_asked_first(services: SearchServices) -> None:
    await search_by(services, "searxng", "brave").search("tides", first="brave")
    await search_by(services, "searxng", "brave").search("tides", first="google")
    assert ["x-subscription-token" in asked["headers"] for asked in services.asked] == [True, False]


async def test_without_any_provider_that_is_said(services: SearchServices) -> None:
    assert (await Search([]).search("tides")).error == "No search provider is set up on this server."
    assert (await search_by(services, "searxng").search("   ")).error == "There is nothing to search for."
    assert services.asked == []


# ddgs, the library, asked as it really is; only its network is away.


def _library(
    monkeypatch: pytest.MonkeyPatch, rows: Sequence[dict[str, str]] | Exception
) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    class Fake:
        def __init__(self, timeout: int) -> None:
            self.timeout = timeout

        def text(self, query: str, **options: Any) -> Sequence[dict[str, str]]:
            asked.append({"query": query, "timeout": self.timeout, **options})
            if isinstance(rows, Exception):
                raise rows
            return rows

    module = types.ModuleType("ddgs")
    module.DDGS = Fake  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ddgs", module)
    return asked


async def test_ddgs_is_asked_for_as_much_as_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _library(monkeypatch, [{"title": "Tides", "href": "https://a.test/", "body": "High water"}])
    search = Search(providers_of(SearchSettings(safe_search="strict", language="de-CH", seconds=4)))
    found = await search.search("tides", 7)
    assert [(each.title, each.url, each.content) for each in found.results] == [
        ("Tides", "https://a.test/", "High water")
    ]
    assert asked == [
        {"query": "tides", "timeout": 4, "max_results": 7, "safesearch": "on", "region": "ch-de"}
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("No results found."), None),
        (RuntimeError("canary timed out"), "No search provider answered (ddgs: too slow)."),
        (RuntimeError("canary"), "No search provider answered (ddgs: unreachable)."),
    ],
)
async def test_ddgs_that_fails_does_not_quote_the_query(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str | None
) -> None:
    _library(monkeypatch, error)
    assert (await Search(providers_of(SearchSettings())).search("canary")).error == said


async def test_a_ddgs_that_hangs_takes_no_thread_that_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    class Hanging:
        def __init__(self, timeout: int) -> None: ...

        def text(self, query: str, **options: Any) -> Sequence[dict[str, str]]:
            released.wait(10)
            return []

    module = types.ModuleType("ddgs")
    module.DDGS = Hanging  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "ddgs", module)
    search = Search(providers_of(SearchSettings(seconds=0.1)))
    try:
        found = await asyncio.gather(*(search.search("tides") for _ in range(40)))
        assert {each.error for each in found} == {"No search provider answered (ddgs: too slow)."}
        async with asyncio.timeout(2):
            await asyncio.to_thread(int)
    finally:
        released.set()


def test_the_real_library_takes_what_we_give_it() -> None:
    import inspect

    import ddgs
    from ddgs.ddgs import DDGS as Real  # noqa: N811

    assert ddgs.DDGS is not None
    assert "timeout" in inspect.signature(Real.__init__).parameters
    # ddgs 9 gives `text` all keywords through to one place.
    taken = inspect.signature(Real._search_sync).parameters  # pyright: ignore[reportPrivateUsage]
    assert {"query", "max_results", "safesearch", "region"} <= set(taken)


async def test_a_provider_that_crashes_ends_no_search(services: SearchServices) -> None:
    class Broken:
        name = "broken"

        async def search(self, query: str, limit: int) -> list[Result]:
            raise ZeroDivisionError(query)

    working = providers_of(settings(services, "searxng"), KEYS)
    found = await Search([Broken(), *working]).search("canary")
    assert (found.error, len(found.results)) == (None, 2)
    assert (
        await Search([Broken()]).search("x")
    ).error == "No search provider answered (broken: no usable answer)."


# Beside the index.


class Forgetful:
    """An embedding model that is never to be asked."""

    model = "none"

    async def embed(self, texts: Sequence[str]) -> None:
        raise AssertionError


class Shelf:
    def __init__(self, results: list[Result] | None) -> None:
        self._results = results

    async def search(self, query: str, limit: int) -> list[Result] | None:
        return self._results


async def test_what_the_operator_has_joins_what_the_web_says(services: SearchServices) -> None:
    mine = [Result("Our tide table", "file:docs/tides.md", "High tide at the quay is at noon")]
    search = Search(providers_of(settings(services, "searxng"), KEYS), Shelf(mine))
    found = await search.search("high tide at the quay")
    assert found.results[0].url == "file:docs/tides.md"
    assert len(found.results) == 3


async def test_without_a_network_the_index_answers_alone(services: SearchServices) -> None:
    services.status = 500
    mine = [Result("Our tide table", "file:docs/tides.md", "High tide at the quay is at noon")]
    found = await Search(providers_of(settings(services, "searxng"), KEYS), Shelf(mine)).search("tide")
    assert (found.error, len(found.results)) == (None, 1)
    found = await Search(providers_of(settings(services, "searxng"), KEYS), Shelf([])).search("tide")
    assert (found.error, found.results) == (None, [])
    found = await Search(providers_of(settings(services, "searxng"), KEYS), Shelf(None)).search("tide")
    assert found.error is not None


async def test_where_the_index_answers_alone_its_own_order_stands() -> None:
    mine = [
        Result("Moorings", "file:a", "By night they are free"),
        Result("Tide", "file:b", "The tide, the tide"),
    ]
    found = await Search([], Shelf(mine), Forgetful()).search("tide")
    assert [each.url for each in found.results] == ["file:a", "file:b"]

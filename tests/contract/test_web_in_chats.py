"""What `venice_parameters` do with the web, over a scripted engine: what the model is told, and what the answer says."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from fake_engines import delta, event, stream, whole
from fondaco.augment.results import Result
from fondaco.augment.scrape import Page, ScrapeFailed
from fondaco.augment.search import Found
from fondaco.chat.web import Web
from scripted_chat import LOCAL, Folded, Gateway, Said, folded, folded_whole, in_cuts, in_json

pytestmark = pytest.mark.anyio

CENT = 10_000_000
TIDES = Result(
    "Tide tables", "https://tides.example/v", "High water in Vell stands at 9:14 today.", "2026-11-20"
)
BOATS = Result("Boats", "https://boats.example/", "Ferries to Vell leave from the north quay.")
ON = {"enable_web_search": "on"}
SCRAPE = {"enable_web_scraping": True}
ASKED = [{"role": "system", "content": "CALLER"}, {"role": "user", "content": "When is high water in Vell?"}]
WEATHER = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


class Searcher:
    def __init__(self, *results: Result, error: str | None = None) -> None:
        self.results, self.error = results, error
        self.queries: list[str] = []
        self.hangs: asyncio.Event | None = None

    async def search(self, query: str, limit: int | None = None, *, first: str | None = None) -> Found:
        self.queries.append(query)
        if self.hangs is not None:
            self.hangs.set()
            await asyncio.Event().wait()
        return Found(list(self.results), self.error)


class Scraper:
    def __init__(self, **pages: str) -> None:
        self.pages = pages
        """By host."""
        self.asked: list[str] = []

    async def scrape(self, url: str, account: str | None = None) -> Page:
        self.asked.append(url)
        for host, text in self.pages.items():
            if host in url:
                return Page(url, f"Of {host}", text, "2026-01-02")
        raise ScrapeFailed("page", "The page could not be fetched: nobody is there.")


class House:
    def __init__(
        self,
        answer: Any = None,
        *,
        results: Sequence[Result] = (TIDES, BOATS),
        error: str | None = None,
        pages: dict[str, str] | None = None,
        **bind: Any,
    ) -> None:
        self.searcher = Searcher(*results, error=error)
        self.scraper = Scraper(**(pages or {}))
        web = Web(self.searcher, self.scraper)
        self.gateway = Gateway(answer or says("At 9:14."), system="SERVER", web=web, **bind)
        self.engine, self.purse = self.gateway.engine, self.gateway.purse

    async def ask(self, parameters: dict[str, Any], *, stream: bool = False, **more: Any) -> Folded:
        fields = {"messages": ASKED, "venice_parameters": parameters, **more}
        if stream:
            return folded(await self.gateway.streamed(**fields))
        return folded_whole(await self.gateway.whole(**fields))

    @property
    def told(self) -> str:
        """The system message that the engine was given last."""
        return self.engine.messages[0]["content"]

    @property
    def services(self) -> list[tuple[str, int]]:
        return [
            (line.sku, line.units) for line in self.purse.ends[-1][1] if line.sku.endswith("augmentation")
        ]


def says(text: str, *, size: int = 40) -> Any:
    """An engine that says so, streamed when it is asked to."""

    def answer(asked: dict[str, Any]) -> Said:
        if asked.get("stream"):
            pieces = [{"content": text[at : at + 3]} for at in range(0, len(text), 3)]
            return in_cuts(stream(*pieces), size)
        return in_json(whole({"content": text}))

    return answer


def calls(name: str, **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("by_suffix", [False, True])
async def test_a_search_is_told_to_the_model_and_listed_in_the_answer(
    streamed: bool, by_suffix: bool
) -> None:
    house = House()
    if by_suffix:
        answer = await house.ask({}, stream=streamed, model="m:enable_web_search=on")
    else:
        answer = await house.ask(ON, stream=streamed)
    assert house.searcher.queries == ["When is high water in Vell"]
    assert answer.text == "At 9:14."
    assert answer.venice_parameters["enable_web_search"] == "on"
    assert answer.venice_parameters["web_search_citations"] == [
        {"title": TIDES.title, "url": TIDES.url, "content": TIDES.content, "date": "2026-11-20"},
        {"title": BOATS.title, "url": BOATS.url, "content": BOATS.content, "date": ""},
    ]
    assert "web_search_error" not in answer.venice_parameters
    first, user = house.engine.messages
    assert first["role"] == "system"
    assert user == ASKED[1]
    places = [first["content"].index(word) for word in ("SERVER", "CALLER", "Source 1", "9:14", "Source 2")]
    assert places == sorted(places)
    assert "caret" not in first["content"]
    assert house.services == [("search-augmentation", 1)]
    assert house.purse.ends[-1][1][0].amount == CENT


async def test_citations_stand_on_the_first_chunk_that_has_a_choice() -> None:
    house = House()
    first, *rest = await house.gateway.streamed(messages=ASKED, venice_parameters=ON)
    assert first["choices"]
    assert len(first["venice_parameters"]["web_search_citations"]) == 2
    assert not any("venice_parameters" in chunk for chunk in rest)


async def test_results_come_in_a_first_chunk_of_their_own_where_that_is_asked_for() -> None:
    house = House()
    parameters = {**ON, "include_search_results_in_stream": True}
    first, second, *_ = await house.gateway.streamed(messages=ASKED, venice_parameters=parameters)
    assert first["choices"] == []
    assert len(first["venice_parameters"]["web_search_citations"]) == 2
    assert second["choices"]
    assert second["venice_parameters"] == first["venice_parameters"]


async def test_off_asks_nobody() -> None:
    house = House()
    answer = await house.ask({"enable_web_search": "off"})
    assert answer.venice_parameters["web_search_citations"] == []
    assert (house.searcher.queries, house.services) == ([], [])
    assert "Source 1" not in house.told


async def test_auto_searches_for_what_needs_it_and_for_nothing_else() -> None:
    house = House()
    await house.ask({"enable_web_search": "auto"}, messages=user("What's the weather in Oslo today?"))
    assert len(house.searcher.queries) == 1
    answer = await house.ask(
        {"enable_web_search": "auto"}, messages=user("Translate 'good morning' into French.")
    )
    assert len(house.searcher.queries) == 1
    assert answer.venice_parameters["enable_web_search"] == "auto"


async def test_the_vendor_s_own_tool_is_auto() -> None:
    house = House()
    await house.ask({}, messages=user("What's the weather in Oslo today?"), tools=[{"type": "web_search"}])
    assert len(house.searcher.queries) == 1
    await house.ask(
        {"enable_web_search": "off"}, messages=user("Weather in Oslo today?"), tools=[{"type": "web_search"}]
    )
    assert len(house.searcher.queries) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_where_nobody_answers_the_answer_goes_on_and_says_so(streamed: bool) -> None:
    house = House(results=(), error="No search provider answered (searxng: timeout).")
    answer = await house.ask(ON, stream=streamed)
    assert answer.text == "At 9:14."
    assert answer.venice_parameters["web_search_citations"] == []
    assert answer.venice_parameters["web_search_error"] == "No search provider answered (searxng: timeout)."
    assert house.services == []


async def test_a_search_without_results_costs_nothing_and_is_no_error() -> None:
    house = House(results=())
    answer = await house.ask(ON)
    assert answer.venice_parameters["web_search_citations"] == []
    assert "web_search_error" not in answer.venice_parameters
    assert house.services == []
    assert "Source" not in house.told


@pytest.mark.parametrize("streamed", [False, True])
async def test_pages_named_in_the_latest_message_are_read_instead_of_a_search(streamed: bool) -> None:
    house = House(pages={"one.example": "Vell has 812 inhabitants.", "two.example": "Vell is old."})
    said = "Compare https://one.example/a, (http://two.example/b) and https://one.example/a!"
    messages = [*user("See https://old.example/"), {"role": "assistant", "content": "Yes"}, *user(said)]
    answer = await house.ask({**ON, **SCRAPE}, stream=streamed, messages=messages)
    assert house.scraper.asked == ["https://one.example/a", "http://two.example/b"]
    assert house.searcher.queries == []
    assert [each["url"] for each in answer.venice_parameters["web_search_citations"]] == house.scraper.asked
    assert "812 inhabitants" in house.told
    assert house.services == [("scrape-augmentation", 2)]


async def test_at_most_five_pages_are_read() -> None:
    house = House(pages={"example": "Text."})
    said = " ".join(f"https://example/{number}" for number in range(9)).replace("example", "w.example")
    await house.ask(SCRAPE, messages=user(said))
    assert len(house.scraper.asked) == 5
    assert house.services == [("scrape-augmentation", 5)]


async def test_a_page_that_cannot_be_read_is_told_to_the_model_and_not_paid() -> None:
    house = House(pages={"sun.example": "Vell."})
    answer = await house.ask(SCRAPE, messages=user("https://sun.example https://gone.example/x"))
    assert house.services == [("scrape-augmentation", 1)]
    assert "https://gone.example/x: The page could not be fetched" in house.told
    assert "gone.example" in answer.venice_parameters["web_search_error"]


async def test_where_no_page_can_be_read_the_web_is_searched_if_that_is_asked_for_too() -> None:
    house = House()
    await house.ask({**ON, **SCRAPE}, messages=user("What says https://gone.example/x on tides?"))
    assert len(house.searcher.queries) == 1
    assert house.services == [("search-augmentation", 1)]
    answer = await house.ask(SCRAPE, messages=user("What says https://gone.example/x on tides?"))
    assert len(house.searcher.queries) == 1
    assert "gone.example/x: The page" in answer.venice_parameters["web_search_error"]
    assert house.services == []


async def test_results_can_come_as_the_documents_of_a_tool_call() -> None:
    parameters = {**ON, "return_search_results_as_documents": True}
    for streamed in (False, True):
        house = House()
        answer = await house.ask(parameters, stream=streamed)
        [[(name, arguments)]] = answer.calls
        assert name == "venice_web_search_documents"
        first, second = json.loads(arguments)["documents"]
        assert first == {
            "id": "1",
            "title": TIDES.title,
            "url": TIDES.url,
            "snippet": TIDES.content,
            "published_at": "2026-11-20",
        }
        assert second["published_at"] is None
        assert answer.finish == ["tool_calls"]
        assert answer.text == "At 9:14."
    chunks = await house.gateway.streamed(messages=ASKED, venice_parameters=parameters)
    assert chunks[0]["choices"][0]["delta"]["tool_calls"][0]["id"] == "web_search_call"


async def test_nothing_is_searched_for_what_is_asked_of_a_picture() -> None:
    png = picture()
    house = House(vision=True)
    shown = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": png}}]
    await house.ask(ON, messages=[{"role": "user", "content": shown}])
    assert house.searcher.queries == []
    await house.ask(ON, messages=[{"role": "user", "content": shown}, *user("And high water in Vell?")])
    assert len(house.searcher.queries) == 1


# Tools.


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_call_is_made_before_anything_foreign_is_in_sight(streamed: bool) -> None:
    house = House(in_cuts(stream(calls("weather", place="Oslo"), finish="tool_calls"), 50))
    answer = await house.ask(ON, stream=streamed, tools=WEATHER)
    assert answer.calls == [[("weather", '{"place": "Oslo"}')]]
    assert answer.finish == ["tool_calls"]
    assert len(house.engine.asked) == 1
    assert "Source 1" not in house.told
    assert (house.searcher.queries, house.services) == ([], [])
    assert house.gateway.engine.exchanges[0].closed.is_set()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engine_that_has_read_the_web_is_offered_no_tools(streamed: bool) -> None:
    house = House()
    answer = await house.ask(ON, stream=streamed, tools=WEATHER)
    before, after = house.engine.asked
    assert before["tools"]
    assert "Source 1" not in before["messages"][0]["content"]
    assert "tools" not in after
    assert "Source 1" in after["messages"][0]["content"]
    assert answer.text == "At 9:14."
    assert answer.calls == [[]]
    assert house.services == [("search-augmentation", 1)]
    # Charged once, and for the answer alone.
    assert len(house.purse.ends) == 1
    assert [exchange.closed.is_set() for exchange in house.engine.exchanges] == [True, True]


async def test_a_conversation_with_calls_keeps_its_tools_and_may_use_none() -> None:
    house = House()
    called = {"role": "assistant", "tool_calls": [{**calls("weather")["tool_calls"][0], "id": "1"}]}
    messages = [*ASKED, called, {"role": "tool", "tool_call_id": "1", "content": "Rain."}]
    await house.ask(ON, tools=WEATHER, messages=messages)
    before, after = house.engine.asked
    assert "tool_choice" not in before
    assert (after["tool_choice"], len(after["tools"])) == ("none", 1)


async def test_where_nothing_is_found_the_answer_that_has_begun_is_the_answer() -> None:
    house = House(results=(), error="No search provider answered.")
    answer = await house.ask(ON, tools=WEATHER)
    assert len(house.engine.asked) == 1
    assert answer.text == "At 9:14."
    assert answer.venice_parameters["web_search_error"] == "No search provider answered."


async def test_a_call_that_is_demanded_is_made_without_the_web() -> None:
    house = House(in_json(whole(calls("weather"), finish="tool_calls")))
    await house.ask(ON, tools=WEATHER, tool_choice="required")
    assert house.searcher.queries == []
    assert len(house.engine.asked) == 1


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_that_were_not_offered_are_not_called(streamed: bool) -> None:
    said = calls("send_mail", to="a@b.example")
    house = House(
        lambda asked: (
            in_cuts(stream({"content": "So."}, said, finish="tool_calls"), 30)
            if asked.get("stream")
            else in_json(whole({"content": "So.", **said}, finish="tool_calls"))
        )
    )
    answer = await house.ask(ON, stream=streamed)
    assert (answer.text, answer.calls, answer.finish) == ("So.", [[]], ["stop"])


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_pictures_of_an_answer_that_read_the_web_are_links(size: int) -> None:
    text = "Wow! ![a](https://evil.example/?q=s) and <img src=https://x> ![b][1] <IMG a> a ! b<i"
    tame = "Wow! [a](https://evil.example/?q=s) and < img src=https://x> [b][1] < IMG a> a ! b< i"
    assert (await House(says(text, size=size)).ask(ON, stream=True)).text == tame
    assert (await House(says(text)).ask(ON)).text == tame
    assert (await House(says(text)).ask({}, stream=True)).text == text


# Money.


async def test_no_money_means_no_search() -> None:
    house = House()
    house.purse.money = CENT - 1
    response = await house.gateway.ask(messages=ASKED, venice_parameters=ON)
    assert response.status == 402
    assert (house.searcher.queries, house.engine.asked) == ([], [])


async def test_the_search_is_held_with_the_answer() -> None:
    house = House(input_usd="1", output_usd="2")
    house.purse.money = 100 * CENT
    await house.ask(ON, max_completion_tokens=10)
    service, both = house.purse.held
    assert service == CENT
    assert both > CENT
    assert house.purse.money == 100 * CENT - both


async def test_whoever_leaves_while_it_is_searched_pays_nothing() -> None:
    house = House()
    house.searcher.hangs = asyncio.Event()
    await house.gateway.request(
        {"model": "m", "messages": ASKED, "venice_parameters": ON}, leaves=house.searcher.hangs
    )
    assert [end for end, _, _ in house.purse.ends] == ["void"]
    assert house.engine.asked == []


async def test_a_failed_answer_costs_no_search() -> None:
    house = House(Said(status=500))
    response = await house.gateway.ask(messages=ASKED, venice_parameters=ON)
    assert response.status >= 500
    assert [end for end, _, _ in house.purse.ends] == ["void"]


# Context.


async def test_long_finds_are_cut_to_what_a_small_model_has_room_for() -> None:
    long = [
        Result(f"Page {number}", f"https://p.example/{number}", "Much ado about little. " * 50)
        for number in range(10)
    ]
    house = House(results=long)
    answer = await house.ask(ON, model=LOCAL, messages=user("What of page 3?"), stream=True)
    assert 2_000 < len(house.told) < 6_500
    assert len(answer.venice_parameters["web_search_citations"]) == 10
    assert "Source 10:" in house.told


async def test_a_full_context_has_no_room_for_finds() -> None:
    house = House()
    context = house.gateway.registry.resolve(LOCAL).model.context_tokens
    answer = await house.ask(ON, model=LOCAL, messages=user("x" * (context - 1500)), stream=True)
    assert answer.venice_parameters["web_search_citations"] == []
    assert "no room" in answer.venice_parameters["web_search_error"]
    assert house.services == []


# Citations.


@pytest.mark.parametrize("streamed", [False, True])
async def test_marks_are_checked_against_their_sources(streamed: bool) -> None:
    text = "High water in Vell stands at 9:14 today.^2^ Ferries to Vell leave from the north quay.^9^ Bye!"
    house = House(says(text))
    answer = await house.ask({**ON, "enable_web_citations": True}, stream=streamed)
    assert answer.text == (
        "High water in Vell stands at 9:14 today.^1^ Ferries to Vell leave from the north quay.^2^ Bye!"
    )
    assert "caret" in house.told


async def test_marks_of_an_answer_for_which_nothing_was_found_are_removed() -> None:
    house = House(says("It is noon.^9^"), results=())
    answer = await house.ask({**ON, "enable_web_citations": True})
    assert answer.text == "It is noon."


async def test_json_is_left_without_marks() -> None:
    text = '{"a": "High water in Vell stands at 9:14 today."}'
    house = House(says(text), response_schema=True)
    parameters = {**ON, "enable_web_citations": True}
    answer = await house.ask(parameters, response_format={"type": "json_object"})
    assert answer.text == text


async def test_each_choice_of_several_is_checked_on_its_own() -> None:
    events = [
        event([delta(at, content=word)])
        for word in ("High water in Vell ", "stands at 9:14 ", "today.")
        for at in (0, 1)
    ]
    events += [event([delta(at, finish="stop")]) for at in (0, 1)]
    house = House(Said([*events, b"data: [DONE]\n\n"]))
    answer = await house.ask({**ON, "enable_web_citations": True}, stream=True, n=2)
    assert answer.texts == ["High water in Vell stands at 9:14 today.^1^"] * 2


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def picture() -> str:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()

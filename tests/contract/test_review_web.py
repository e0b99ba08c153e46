"""What a reading of the web in chats with fresh eyes found: engines left, money held, pictures in pieces, pages of any size."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest
from test_web_in_chats import (
    ASKED,
    BOATS,
    CENT,
    ON,
    SCRAPE,
    TIDES,
    WEATHER,
    House,
    Scraper,
    Searcher,
    user,
)

from fake_engines import stream, whole
from fondaco.augment.citing.evidence import Evidence, Held
from fondaco.augment.excerpt import excerpts
from fondaco.augment.results import Result
from fondaco.chat.foreign import NoPictures
from fondaco.chat.options import Options
from fondaco.chat.web import Errand, Gathered, Web
from fondaco.upstream.wire import EngineChoice, EngineDelta
from scripted_chat import LOCAL, Said, in_cuts, in_json

pytestmark = pytest.mark.anyio

CITED = {**ON, "enable_web_citations": True}
SAID = "High water in Vell stands at 9:14 today. Ferries leave from the north quay. "


def says_at_once(asked: dict[str, Any]) -> Any:
    return (
        in_cuts(stream({"content": SAID}), 4000) if asked.get("stream") else in_json(whole({"content": SAID}))
    )


@pytest.mark.parametrize("model", ["m", LOCAL])
@pytest.mark.parametrize("streamed", [False, True])
async def test_who_leaves_while_the_first_sentence_is_checked_leaves_the_engine_and_pays(
    streamed: bool, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = asyncio.Event()

    async def held(evidence: Evidence, sentence: str, about: str = "") -> list[Held]:
        checked.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(Evidence, "held", held)
    house = House(says_at_once)
    body = {"model": model, "messages": ASKED, "venice_parameters": CITED, "stream": streamed}
    await house.gateway.request(body, leaves=checked)
    assert [exchange.closed.is_set() for exchange in house.engine.exchanges] == [True]
    assert all(lease.released for lease in house.gateway.local.leases)
    assert [end for end, _, _ in house.purse.ends] == ["left"]
    assert house.services == [("search-augmentation", 1)]


@pytest.mark.parametrize("tools", [None, WEATHER])
async def test_whoever_cannot_pay_the_search_is_refused_before_anybody_is_asked(tools: Any) -> None:
    house = House()
    house.purse.money = CENT - 1
    response = await house.gateway.ask(messages=ASKED, venice_parameters=ON, tools=tools)
    assert response.status == 402
    assert (house.searcher.queries, house.engine.asked) == ([], [])


async def test_the_search_is_held_while_it_is_open_whether_a_tool_is_called() -> None:
    house = House(input_usd="1", output_usd="2")
    house.purse.money = 100 * CENT
    await house.ask(ON, max_completion_tokens=10, tools=WEATHER)
    first, second = house.purse.held
    assert min(first, second) > CENT
    assert house.purse.money == 100 * CENT - second


async def test_a_search_that_is_demanded_as_a_tool_is_made() -> None:
    house = House()
    question = user("What's the weather in Oslo today?")
    await house.ask({}, messages=question, tools=[{"type": "web_search"}], tool_choice="required")
    assert len(house.searcher.queries) == 1


async def test_what_was_found_for_one_model_is_told_to_its_fallback_too() -> None:
    def answer(asked: dict[str, Any]) -> Said:
        return Said(status=503) if asked["model"] == "theirs" else in_json(whole({"content": SAID}))

    small = {"context_tokens": 300, "upstream_model": "theirs"}
    house = House(answer, others={"small": small, "large": {"upstream_model": "other"}})
    found = await house.ask(ON, model="small", fallbacks=[{"model": "m"}, {"model": "large"}])
    assert len(house.engine.asked) == 3
    assert len(house.searcher.queries) == 1
    assert [each["url"] for each in found.venice_parameters["web_search_citations"]] == [TIDES.url, BOATS.url]
    assert "Source 2" in house.told
    assert [end for end, _, _ in house.purse.ends] == ["void", "void", "settled"]


@pytest.mark.parametrize("mark", ["!", "<"])
async def test_a_picture_is_none_where_what_its_thoughts_began_goes_on_after_the_text(mark: str) -> None:
    rest = "[a](https://evil.example/?q=s)" if mark == "!" else "img src=https://evil.example/?q=s>"
    pieces = [{"reasoning_content": f"So{mark}"}, {"content": "Hm."}, {"reasoning_content": rest}]
    answer = await House(in_cuts(stream(*pieces), 50)).ask(ON, stream=True)
    assert answer.thought == f"So{mark} {rest}"


def test_marks_without_end_are_read_in_proportion_to_their_number() -> None:
    began = time.process_time()
    for end in ("stop", None):
        choice = EngineChoice(index=0, delta=EngineDelta(content="!" * 50_000 + "."), finish_reason=end)
        NoPictures().rewrite(choice)
        assert choice.delta is not None
        assert choice.delta.content == "!" * 50_000 + "."
    assert time.process_time() - began < 2


def test_a_long_question_is_looked_for_in_proportion_to_its_length() -> None:
    question = " ".join(f"word{number}" for number in range(40_000))
    page = "\n\n".join(f"A passage on word{number} and others like it. " * 15 for number in range(400))
    began = time.process_time()
    assert "word7 " in excerpts([Result("t", "https://a.example/", page)], question, 24_000)[0].content
    assert time.process_time() - began < 2


async def test_huge_pages_are_cut_while_others_are_served() -> None:
    web = Web(Searcher(), Scraper())
    page = "Much ado about nothing. " * 20_000
    gathered = Gathered(sources=[Result("t", f"https://{at}.example/", page) for at in range(5)])
    errand = Errand("What of nothing?", "", tuple(each.url for each in gathered.sources), ())
    served = 0

    async def others() -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0.001)
            served += 1

    task = asyncio.create_task(others())
    model = House().gateway.registry.resolve("m").model
    assert "Source 5" in await web.brief(gathered, errand, Options(), model, 50_000)
    task.cancel()
    assert served > 3


async def test_of_pages_that_there_is_no_room_for_nothing_is_paid() -> None:
    pages = {f"p{number}.example": "Vell lies in the lagoon. " * 40 for number in range(5)}
    house = House(pages=pages)
    said = "Compare " + " ".join(f"https://{host}/" for host in pages)
    context = house.gateway.registry.resolve(LOCAL).model.context_tokens
    answer = await house.ask(
        SCRAPE, model=LOCAL, messages=user(f"{'x' * (context - 2_400)} {said}"), stream=True
    )
    told = len(answer.venice_parameters["web_search_citations"])
    assert 0 < told < 5
    assert house.services == [("scrape-augmentation", told)]


async def test_what_could_not_be_read_does_not_outgrow_a_full_context() -> None:
    house = House()
    said = " ".join(f"https://{'水' * 150}{number}.example/" for number in range(5))
    context = house.gateway.registry.resolve(LOCAL).model.context_tokens
    answer = await house.ask(
        SCRAPE, model=LOCAL, messages=user(f"{'x' * (context - 4_500)} {said}"), stream=True
    )
    assert "Could not be read" not in str(house.engine.messages)
    assert "could not be fetched" in answer.venice_parameters["web_search_error"]


@pytest.mark.parametrize("character", ["e", "水", "\U0001d49c", "<", "\n"])
@pytest.mark.parametrize("urls", [0, 5])
async def test_a_briefing_is_never_longer_than_its_bound(character: str, urls: int) -> None:
    web = Web(Searcher(), Scraper())
    address = "https://a.example/" + character.strip() * 1900
    found = [Result(character * 300, f"{address}{at}", character * 5000) for at in range(20)]
    errand = Errand("e", "" if urls else "e", tuple(f"https://a.example/{at}" for at in range(urls)), ())
    registry = House().gateway.registry
    for model in (registry.resolve("m").model, registry.resolve(LOCAL).model):
        for room in (-5_000, 0, 601, 3_000, 20_000, 1_000_000):
            gathered = Gathered(sources=list(found), failures=[f"{address[:200]}: nobody is there."] * urls)
            options = Options(enable_web_citations=True)
            text = await web.brief(gathered, errand, options, model, room)
            assert len(text.encode()) <= web.briefing_bound(errand, model, room)
            assert numbers(text) == list(range(1, 1 + len(gathered.sources)))


def numbers(briefing: str) -> Sequence[int]:
    lines = briefing.splitlines()
    return [int(line.split()[1].rstrip(":")) for line in lines if line.startswith("Source ")]

"""The three endpoints of characters, and characters in chats and quotes, of a whole gateway (CONTRACT 12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fake_engines
from card_files import in_base64, picture
from fake_engines import FakeEngine, Seen
from fondaco.characters.card_file import opened
from fondaco.characters.service import Changes, CharacterService
from fondaco.clock import SystemClock
from served_app import ServedApp, binding, books, served_app

pytestmark = pytest.mark.anyio

ROW = {
    "id": str,
    "slug": str,
    "name": str,
    "description": str,
    "adult": bool,
    "author": str,
    "featured": bool,
    "webEnabled": bool,
    "tags": list,
    "createdAt": str,
    "updatedAt": str,
    "photoUrl": type(None),
    "shareUrl": type(None),
    "modelId": str,
    "stats": dict,
}
STATS = {"averageRating": 0, "imports": 0, "ratingCount": 0, "ratingSum": 0, "userRating": None}

NELL = {
    "name": "Nell",
    "description": "{{char}} keeps the mill.",
    "creator_notes": "A miller.",
    "tags": ["nsfw"],
}


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with fake_engines.engine(_answer) as running:
        yield running


@pytest.fixture
async def house(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[ServedApp]:
    bound = {"m": binding(engine, max_completion_tokens=100, input_usd="1", output_usd="1")}
    # A key that asks again and again for what is not there yet is not to be shut out.
    async with served_app(tmp_path, bound, limits={"abuse_failures": 0}) as served:
        yield served


def _answer(seen: Seen) -> fake_engines.Answer:
    usage = {"prompt_tokens": 500, "completion_tokens": 2, "total_tokens": 502}
    body = fake_engines.whole({"content": "Aye."}, usage=usage)
    return fake_engines.Answer([body], content_type="application/json")


async def get(house: ServedApp, path: str) -> Any:
    answer = await house.ask("GET", path)
    assert answer.status == 200, answer.body
    return answer.json()


async def issues(house: ServedApp, path: str) -> list[list[str]]:
    answer = await house.ask("GET", path)
    assert answer.status == 400, answer.body
    return [issue["path"] for issue in answer.json()["issues"]]


async def imports(house: ServedApp, slug: str = "nell", *, replace: bool = False, **more: Any) -> None:
    """As `fondaco characters import` does, from another process."""
    card = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**NELL, **more}}
    async with books(house.data_dir) as database:
        service = CharacterService(database, SystemClock())
        await service.add(opened(picture(chara=in_base64(card))), Changes(), slug, replace=replace)


async def until(house: ServedApp, slug: str, status: int) -> None:
    async with asyncio.timeout(3):
        while (await house.ask("GET", f"/characters/{slug}")).status != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_list_has_the_contract_s_shape(house: ServedApp) -> None:
    listed = await get(house, "/characters")
    assert set(listed) == {"object", "data"}
    assert listed["object"] == "list"
    assert len(listed["data"]) == 12
    for row in listed["data"]:
        assert {key: type(value) for key, value in row.items()} == ROW
        assert row["stats"] == STATS
        assert row["modelId"] == "m"
        assert row["createdAt"] == "2026-03-01T00:00:00.000Z"
    one = await get(house, "/characters/ada")
    assert one == {"object": "character", "data": next(row for row in listed["data"] if row["slug"] == "ada")}


async def test_lists_are_repeated_or_have_commas(house: ServedApp) -> None:
    def slugs(listed: Any) -> set[str]:
        return {row["slug"] for row in listed["data"]}

    found = {"bruno", "marina", "tomas"}
    assert slugs(await get(house, "/characters?tags=food,history&tags=gardening")) == found
    assert slugs(await get(house, "/characters?tags[]=food&tags[]=history,gardening")) == found
    assert slugs(await get(house, "/characters?categories=Food")) == {"bruno"}
    assert slugs(await get(house, "/characters?search=%23history")) == {"marina"}
    assert slugs(await get(house, "/characters?modelId=other")) == set()
    assert len(slugs(await get(house, "/characters?tags=&categories=,&limit=100&offset="))) == 12
    assert len((await get(house, "/characters?limit=5&offset=10"))["data"]) == 2
    assert len((await get(house, "/characters?unknown=1&isAdult=false"))["data"]) == 12


BAD = [
    ("limit=0", "limit"),
    ("limit=101", "limit"),
    ("limit=many", "limit"),
    ("offset=-1", "offset"),
    ("search=" + "x" * 201, "search"),
    ("tags=" + ",".join("abcdefghijklmnopqrstu"), "tags"),
    ("tags=" + "x" * 101, "tags"),
    ("modelId=" + "x" * 201, "modelId"),
    ("isAdult=yes", "isAdult"),
    ("sortBy=name", "sortBy"),
    ("sortOrder=up", "sortOrder"),
]


async def test_a_filter_that_cannot_be_is_named(house: ServedApp) -> None:
    for query, path in BAD:
        assert [issue[0] for issue in await issues(house, f"/characters?{query}")] == [path], query


async def test_reviews_are_an_honest_empty_page(house: ServedApp) -> None:
    answer = await house.ask("GET", "/characters/ada/reviews?page=3&pageSize=7")
    assert answer.json() == {
        "object": "list",
        "data": [],
        "pagination": {"page": 3, "pageSize": 7, "total": 0, "totalPages": 0},
        "summary": {"averageRating": 0, "totalReviews": 0},
    }
    paging = {
        name: answer.headers[f"x-pagination-{name}"] for name in ("limit", "page", "total", "total-pages")
    }
    assert paging == {"limit": "7", "page": "3", "total": "0", "total-pages": "0"}
    assert await issues(house, "/characters/ada/reviews?page=0&pageSize=101") == [["page"], ["pageSize"]]


async def test_an_unknown_character_is_404_and_all_need_a_key(house: ServedApp) -> None:
    for path in ("/characters/nobody", "/characters/nobody/reviews", "/characters/%2e%2e"):
        answer = await house.ask("GET", path)
        assert answer.status == 404
        assert answer.json()["code"] == "CHARACTER_NOT_FOUND"
    for path in ("/characters", "/characters/ada", "/characters/ada/reviews"):
        assert (await house.ask("GET", path, key="no-key")).status == 401


async def test_what_another_process_does_with_a_card_holds_here_at_once(
    house: ServedApp, engine: FakeEngine
) -> None:
    asked = {"venice_parameters": {"character_slug": "nell"}}
    assert (await house.chat(**asked)).status == 404
    await imports(house)
    await until(house, "nell", 200)
    row = (await get(house, "/characters/nell"))["data"]
    assert (row["name"], row["description"], row["adult"]) == ("Nell", "A miller.", True)
    assert "nell" in {each["slug"] for each in (await get(house, "/characters?isAdult=true"))["data"]}
    answer = await house.chat(**asked)
    assert answer.json()["venice_parameters"]["character_slug"] == "nell"
    assert "Nell keeps the mill." in engine.seen[-1].body["messages"][0]["content"]
    await imports(house, replace=True, description="{{char}} left.")
    async with asyncio.timeout(3):
        while "Nell left." not in str(engine.seen[-1].body["messages"]):
            await house.chat(**asked)
    async with books(house.data_dir) as database:
        service = CharacterService(database, SystemClock())
        await service.change("nell", Changes(enabled=False))
        await until(house, "nell", 404)
        assert (await house.chat(**asked)).status == 404
        await service.change("nell", Changes(enabled=True))
        await until(house, "nell", 200)
        await service.remove("nell")
        await until(house, "nell", 404)
        await service.change("ada", Changes(enabled=False))
        await until(house, "ada", 404)
    assert len((await get(house, "/characters"))["data"]) == 11


async def test_a_quote_counts_what_a_character_adds(house: ServedApp) -> None:
    async def quoted(**parameters: Any) -> tuple[Decimal, Decimal]:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 1,
            "venice_parameters": parameters,
        }
        answer = await house.ask("POST", "/quote", {"endpoint": "/chat/completions", "body": body})
        assert answer.status == 200, answer.body
        told = answer.json()
        return told["quote"], told["ceiling"]

    plain, played = await quoted(), await quoted(character_slug="ada")
    assert played[0] > 5 * plain[0]
    assert played[1] > 5 * plain[1]
    refused = {
        "endpoint": "/chat/completions",
        "body": {"model": "m:character_slug=nobody", "messages": [{}]},
    }
    refused["body"]["messages"] = [{"role": "user", "content": "hi"}]  # pyright: ignore[reportIndexIssue]
    assert (await house.ask("POST", "/quote", refused)).status == 404


async def test_a_chat_with_a_character_is_billed_by_what_its_engine_says(house: ServedApp) -> None:
    answer = await house.chat(venice_parameters={"character_slug": "ada"})
    assert answer.json()["usage"]["prompt_tokens"] == 500
    lines = await house.settled(2)
    assert {line["sku"] for line in lines} == {"m-llm-input-mtoken", "m-llm-output-mtoken"}
    assert not any("ada" in str(line) for line in lines)
    assert await house.faults() == []

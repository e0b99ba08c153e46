"""The seven `venice_parameters`, each doing what it says: by the official client, streamed and not, by body and suffix.

The web is a SearXNG-speaking server and a small site on loopback; the model is scripted and says what it was given.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from openai import AsyncOpenAI

import papers
from fake_engines import Answer, FakeEngine, Seen, engine, stream, whole
from fake_search import SearchServices
from gateways import ADMIN_KEY
from odd_servers import OddServer, answer, odd_server
from served_app import binding, served_app

pytestmark = pytest.mark.anyio

FACT = "High water in Vell stands at 9:14 today."
ROWS = [
    {
        "url": "https://boats.example/",
        "title": "Boats",
        "content": "Ferries to Vell leave from the north quay.",
    },
    {"url": "https://tides.example/", "title": "Tides of Vell", "content": FACT, "date": "2026-11-20"},
]
PAGE = papers.page("The lagoon", *(["The lagoon of Vell is fed by three rivers, and its water is salt."] * 3))
QUESTION = "When is high water in Vell?"


@dataclass
class Told:
    text: str
    thoughts: str
    parameters: dict[str, Any]
    first: dict[str, Any]
    """What the first chunk said of the parameters; of a whole answer, the answer."""
    prompt: str
    """All that the model was given."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def site() -> AsyncGenerator[OddServer]:
    async with odd_server() as site:
        SearchServices(site, ROWS)
        site.pages["/lagoon"] = answer(PAGE)
        yield site


@pytest.fixture(scope="module")
def model() -> Iterator[FakeEngine]:
    def says(seen: Seen) -> Answer:
        words = ["<think>", "I wonder.", "</think>", "\n\n", FACT, " Is that all?"]
        if seen.body.get("stream"):
            return Answer([stream(*({"content": word} for word in words))])
        return Answer([whole({"content": "".join(words)})], content_type="application/json")

    with engine(says) as model:
        yield model


class Asker:
    def __init__(self, client: AsyncOpenAI, model: FakeEngine, streamed: bool, by_suffix: bool) -> None:
        self._client, self._model = client, model
        self._streamed, self._by_suffix = streamed, by_suffix

    async def __call__(self, said: str = QUESTION, **parameters: str | bool) -> Told:
        name = "m"
        extra: dict[str, Any] = {"venice_parameters": parameters}
        if self._by_suffix and parameters:
            values = {
                key: str(value).lower() if value in (True, False) else value
                for key, value in parameters.items()
            }
            name += ":" + "&".join(f"{key}={quote(str(value))}" for key, value in values.items())
            extra = {}
        asked: dict[str, Any] = {
            "model": name,
            "messages": [{"role": "user", "content": said}],
            "extra_body": extra,
        }
        if not self._streamed:
            completion = await self._client.chat.completions.create(**asked)
            message = completion.choices[0].message
            assert completion.model_extra is not None
            echo = completion.model_extra["venice_parameters"]
            thoughts = (message.model_extra or {})["reasoning_content"] or ""
            return Told(message.content or "", thoughts, echo, echo, self._prompt)
        text = thoughts = ""
        echo: dict[str, Any] = {}
        first: dict[str, Any] | None = None
        async for chunk in await self._client.chat.completions.create(stream=True, **asked):
            # As the documentation's own sample reads a stream.
            delta = chunk.choices[0].delta
            text += delta.content or ""
            thoughts += (delta.model_extra or {}).get("reasoning_content") or ""
            told = (chunk.model_extra or {}).get("venice_parameters", {})
            echo |= told
            first = first if first is not None else told
        return Told(text, thoughts, echo, first or {}, self._prompt)

    @property
    def _prompt(self) -> str:
        return "\n".join(str(message["content"]) for message in self._model.seen[-1].body["messages"])


@pytest.fixture(scope="module")
async def client(
    tmp_path_factory: pytest.TempPathFactory, site: OddServer, model: FakeEngine
) -> AsyncGenerator[AsyncOpenAI]:
    folder: Path = tmp_path_factory.mktemp("seven")
    house = served_app(
        folder,
        {"m": binding(model)},
        prompt={"system": "HOUSE RULES"},
        search={"providers": ["searxng"], "searxng_url": site.url, "embedding": ""},
        net={"allow_hosts": [site.place]},
        limits={"scale": 0},
    )
    async with house as served, AsyncOpenAI(api_key=ADMIN_KEY, base_url=served.base_url) as client:
        yield client


@pytest.fixture(params=["whole", "streamed"])
def streamed(request: pytest.FixtureRequest) -> bool:
    return request.param == "streamed"


@pytest.fixture(params=["body", "suffix"])
def ask(client: AsyncOpenAI, model: FakeEngine, streamed: bool, request: pytest.FixtureRequest) -> Asker:
    return Asker(client, model, streamed, request.param == "suffix")


async def test_enable_web_search(ask: Asker) -> None:
    told = await ask(enable_web_search="on")
    assert FACT in told.prompt
    urls = [each["url"] for each in told.first["web_search_citations"]]
    assert sorted(urls) == ["https://boats.example/", "https://tides.example/"]
    assert told.parameters["enable_web_search"] == "on"
    told = await ask("Say hello in French.", enable_web_search="auto")
    assert told.first["web_search_citations"] == []
    told = await ask("What is the tide in Vell today?", enable_web_search="auto")
    assert len(told.first["web_search_citations"]) == 2
    told = await ask(enable_web_search="off")
    assert told.first["web_search_citations"] == []
    assert "https://tides.example" not in told.prompt


async def test_enable_web_scraping(ask: Asker, site: OddServer) -> None:
    told = await ask(f"What feeds the lagoon? See {site.url}/lagoon.", enable_web_scraping=True)
    assert "three rivers" in told.prompt
    assert [each["url"] for each in told.first["web_search_citations"]] == [f"{site.url}/lagoon"]
    told = await ask(f"What feeds the lagoon? See {site.url}/lagoon.", enable_web_scraping=False)
    assert "three rivers" not in told.prompt


async def test_enable_web_citations(ask: Asker) -> None:
    told = await ask(enable_web_search="on", enable_web_citations=True)
    number = 1 + [each["url"] for each in told.first["web_search_citations"]].index("https://tides.example/")
    assert told.text == f"{FACT}^{number}^ Is that all?"
    told = await ask(enable_web_search="on", enable_web_citations=False)
    assert told.text == f"{FACT} Is that all?"


async def test_include_venice_system_prompt(ask: Asker) -> None:
    assert "HOUSE RULES" in (await ask()).prompt
    assert "HOUSE RULES" in (await ask(include_venice_system_prompt=True)).prompt
    told = await ask(include_venice_system_prompt=False)
    assert "HOUSE RULES" not in told.prompt
    assert told.parameters["include_venice_system_prompt"] is False


async def test_strip_thinking_response(ask: Asker) -> None:
    told = await ask()
    assert (told.text, told.thoughts) == (f"{FACT} Is that all?", "I wonder.")
    told = await ask(strip_thinking_response=True)
    assert (told.text, told.thoughts) == (f"{FACT} Is that all?", "")


async def test_disable_thinking(ask: Asker) -> None:
    told = await ask(disable_thinking=True)
    assert (told.text, told.thoughts) == (f"{FACT} Is that all?", "")
    assert told.parameters["disable_thinking"] is True


async def test_character_slug(ask: Asker, client: AsyncOpenAI) -> None:
    listed: Any = await client.get("/characters", cast_to=object)
    character = listed["data"][0]
    told = await ask(character_slug=character["slug"])
    assert character["name"] in told.prompt
    assert told.parameters["character_slug"] == character["slug"]

"""POST /quote through the edge, over a real registry and the chat's own plan."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pytest

from fondaco.billing.quoting import routes as quoting_routes
from fondaco.billing.quoting.goods import goods
from fondaco.billing.quoting.known import KnownModels
from fondaco.billing.quoting.service import QuoteService
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.quote import ChatQuotes
from fondaco.clock import SystemClock
from fondaco.errors import AuthenticationFailed
from fondaco.http import docs
from fondaco.http.call import Call
from fondaco.http.edge import Edge
from fondaco.http.routing import Routes
from fondaco.keys.caller import Caller
from fondaco.models.catalogue import Catalogue
from fondaco.models.registry import Registry
from fondaco.settings import Binding, ModelSettings
from fondaco.telemetry.logs import logger

pytestmark = pytest.mark.anyio

CATALOGUE = Catalogue()
CHAT = "/chat/completions"
USER = [{"role": "user", "content": "x" * 320}]
DEAR = "claude-opus-45"
WITH_TOOLS = {"base_url": "http://127.0.0.1:9/v1", "functions": True, "response_schema": True}


class NoKeys:
    def recall(self, token: bytes) -> Caller | None:
        return None

    async def authenticate(self, token: bytes) -> Caller:
        raise AuthenticationFailed


class Client:
    status = 0
    body = b""

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.body = status, body

    def begin(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None: ...
    def piece(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def clogged(self) -> asyncio.Future[None] | None: ...
    def continue_body(self) -> None: ...


class Quotes:
    def __init__(
        self,
        *,
        free: bool = False,
        stand_ins: bool = False,
        bind: dict[str, dict[str, Any]] | None = None,
        local: bool = False,
        system: str = "",
    ) -> None:
        bindings = {name: Binding.model_validate(facts) for name, facts in (bind or {}).items()}
        settings = ModelSettings(bind=bindings, stand_ins=stand_ins)
        registry = Registry(settings, CATALOGUE, lambda _: True, False, {"text"} if local else ())
        models = KnownModels(registry, CATALOGUE)
        chats = ChatQuotes(models, PromptBuilder(SystemClock(), system))
        service = QuoteService([chats.quotable, *goods(models)], free=free)
        self.routes = quoting_routes.routes(service)
        self._edge = Edge(Routes([*self.routes, *docs.routes(self.routes)]), NoKeys(), logger("tests"))

    async def post(self, body: Any, path: str = "/api/v1/quote", method: str = "POST") -> tuple[int, Any]:
        """Without a key, as anybody may."""
        client = Client()
        call = Call(client, method, path, b"", {b"content-type": b"application/json"})
        call.take(body if isinstance(body, bytes) else json.dumps(body).encode(), 35_000_000)
        call.finish()
        await self._edge.handle(call)
        return client.status, json.loads(client.body, parse_float=Decimal)

    async def of(self, endpoint: str, **body: Any) -> dict[str, Any]:
        status, answer = await self.post({"endpoint": endpoint, "body": body})
        assert status == 200, answer
        assert set(answer) == {"quote", "ceiling", "lines"}
        for line in answer["lines"]:
            assert set(line) == {"sku", "units", "price", "amount"}
            assert line["amount"] == line["units"] * line["price"]
        assert answer["quote"] == sum(line["amount"] for line in answer["lines"])
        assert answer["quote"] <= answer["ceiling"]
        return answer

    async def refused(self, endpoint: str, **body: Any) -> tuple[int, list[tuple[list[Any], str]]]:
        status, answer = await self.post({"endpoint": endpoint, "body": body})
        return status, [(issue["path"], issue["message"]) for issue in answer.get("issues", ())]


@pytest.fixture
def quotes() -> Quotes:
    return Quotes()


# Chat.


async def test_a_chat_is_quoted_by_its_characters_and_its_limit(quotes: Quotes) -> None:
    answer = await quotes.of(CHAT, model="zai-org-glm-4.7", messages=USER, max_tokens=2000)
    # 320 characters are 100 tokens.
    assert answer["lines"] == [
        {
            "sku": "zai-org-glm-4.7-llm-input-mtoken",
            "units": Decimal("0.0001"),
            "price": Decimal("0.55"),
            "amount": Decimal("0.000055"),
        },
        {
            "sku": "zai-org-glm-4.7-llm-output-mtoken",
            "units": Decimal("0.002"),
            "price": Decimal("2.65"),
            "amount": Decimal("0.0053"),
        },
    ]
    answered = answer["ceiling"] - Decimal("0.0053")
    # Each byte may be a token, and a message has some around it.
    assert Decimal("0.000176") < answered < Decimal("0.0003")


async def test_an_answer_without_a_limit_is_quoted_at_1024_tokens_and_bounded_by_its_model(
    quotes: Quotes,
) -> None:
    answer = await quotes.of(CHAT, model="llama-3.3-70b", messages=USER)
    assert answer["lines"][1]["units"] == Decimal("0.001024")
    most = CATALOGUE.of_type("text")["llama-3.3-70b"].max_completion_tokens
    assert answer["ceiling"] > Decimal("2.80") * most / 10**6


async def test_each_of_several_answers_is_paid(quotes: Quotes) -> None:
    once = await quotes.of(CHAT, model="qwen3-4b", messages=USER, max_tokens=100)
    thrice = await quotes.of(CHAT, model="qwen3-4b", messages=USER, max_tokens=100, n=3)
    assert thrice["lines"][1]["units"] == 3 * once["lines"][1]["units"]
    assert thrice["lines"][0] == once["lines"][0]
    assert thrice["ceiling"] - once["ceiling"] == 2 * 100 * Decimal("0.15") / 10**6


async def test_whatever_answers_sets_the_price() -> None:
    here = Quotes(stand_ins=True, local=True)
    answer = await here.of(CHAT, model=DEAR, messages=USER)
    assert answer["lines"][0]["price"] == Decimal("0.05")
    assert answer["lines"][0]["sku"].startswith("qwen2.5-coder-1.5b-instruct-")


async def test_tools_and_schemas_are_in_the_bound() -> None:
    bound = Quotes(bind={"m": {**WITH_TOOLS, "input_usd": "1"}})
    schema = {"type": "object", "description": "d" * 5000}
    asked = {"model": "m", "messages": USER, "max_tokens": 1}
    plain = await bound.of(CHAT, **asked)
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    for more in (
        {"tools": tools},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}},
    ):
        assert (await bound.of(CHAT, **asked, **more))["ceiling"] - plain["ceiling"] > 5000 * Decimal(
            "0.000001"
        )


async def test_pictures_are_bounded_without_being_read() -> None:
    bound = Quotes(bind={"m": {**WITH_TOOLS, "vision": True, "input_usd": "1"}})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    message = {"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]}
    answer = await bound.of(CHAT, model="m", messages=[message], max_tokens=1)
    assert Decimal("0.001") < answer["quote"] < answer["ceiling"] < Decimal("0.005")


async def test_a_chat_that_would_be_refused_has_no_quote(quotes: Quotes) -> None:
    assert await quotes.refused(CHAT, model="qwen3-4b", messages=[], temperatur=1) == (
        400,
        [
            (["body"], "Unrecognized key(s) in object: 'temperatur'"),
            (["body", "messages"], "Array must contain at least 1 element(s)"),
        ],
    )
    status, issues = await quotes.refused(
        CHAT, model="venice-uncensored", messages=USER, tools=[{"name": "f"}]
    )
    assert (status, issues) == (400, [(["body", "tools"], "tools is not supported by this model")])


async def test_the_ceiling_is_that_of_the_dearest_model_that_may_answer(quotes: Quotes) -> None:
    asked = {"messages": USER, "max_tokens": 100}
    dear = await quotes.of(CHAT, model=DEAR, **asked)
    fallbacks = [{"model": "nobody"}, {"model": DEAR}]
    first = await quotes.of(CHAT, model="qwen3-4b", fallbacks=fallbacks, **asked)
    assert first["lines"][0]["sku"] == "qwen3-4b-llm-input-mtoken"
    assert first["ceiling"] == dear["ceiling"]
    # The first that is there answers.
    assert await quotes.of(CHAT, model="nobody", fallbacks=fallbacks, **asked) == dear


async def test_the_server_s_own_prompt_is_paid_too() -> None:
    long = Quotes(system="s" * 3200)
    with_it = await long.of(CHAT, model="qwen3-4b", messages=USER, max_tokens=1)
    without = await long.of(
        CHAT,
        model="qwen3-4b:include_venice_system_prompt=false",
        messages=USER,
        max_tokens=1,
    )
    assert with_it["lines"][0]["units"] - without["lines"][0]["units"] >= Decimal("0.001")


# Everything else.


@pytest.mark.parametrize(
    ("endpoint", "body", "price"),
    [
        ("/image/generate", {"model": "qwen-image", "prompt": "a cat"}, "0.01"),
        ("/image/generate", {"model": "venice-sd35", "prompt": "a cat", "variants": 4}, "0.04"),
        ("/image/generate", {"model": "nano-banana-pro", "prompt": "p", "resolution": "2K"}, "0.24"),
        ("/image/generate", {"model": "default", "enhance_prompt": True, "enable_web_search": True}, "0.06"),
        ("/images/generations", {"prompt": "a cat"}, "0.01"),
        ("/images/generations", {"prompt": "a cat", "model": "gpt-image-1-5"}, "0.23"),
        ("/images/generations", {"prompt": "a cat", "model": "a name of theirs"}, "0.01"),
        ("/image/edit", {"prompt": "bluer", "image": "…"}, "0.04"),
        ("/image/edit", {"prompt": "bluer", "image": "…", "modelId": "flux-2-max-edit"}, "0.09"),
        ("/image/multi-edit", {"prompt": "bluer", "images": ["…", "…"]}, "0.04"),
        ("/image/upscale", {"image": "…"}, "0.02"),
        ("/image/upscale", {"image": "…", "scale": 4}, "0.08"),
        ("/image/upscale", {"image": "…", "scale": 2.5}, "0.08"),
        ("/image/background-remove", {"image": "…"}, "0.02"),
        ("/audio/speech", {"input": "x" * 1000}, "0.0035"),
        ("/audio/speech", {"input": "x" * 1000, "model": "tts-1"}, "0.0035"),
        ("/audio/transcriptions", {"file": {"seconds": 12.5}}, "0.00125"),
        ("/audio/transcriptions", {"file": {"seconds": "0.0001"}, "model": "whisper-1"}, "0.0000001"),
        ("/augment/search", {"query": "venice"}, "0.01"),
        ("/augment/scrape", {"url": "http://127.0.0.1/"}, "0.01"),
        ("/augment/text-parser", {}, "0.01"),
    ],
)
async def test_what_has_a_fixed_price_costs_just_that(
    quotes: Quotes, endpoint: str, body: dict[str, Any], price: str
) -> None:
    answer = await quotes.of(endpoint, **body)
    assert answer["quote"] == answer["ceiling"] == Decimal(price)


@pytest.mark.parametrize("given", ["x" * 320, ["x" * 160, "x" * 160], list(range(100)), [[1] * 60, [2] * 40]])
async def test_embedding_is_quoted_by_its_characters_or_tokens(quotes: Quotes, given: Any) -> None:
    answer = await quotes.of("/embeddings", model="bge-m3", input=given)
    assert answer["lines"] == [
        {
            "sku": "text-embedding-bge-m3-embedding-mtoken",
            "units": Decimal("0.0001"),
            "price": Decimal("0.15"),
            "amount": Decimal("0.000015"),
        }
    ]


async def test_a_file_whose_length_is_not_said_is_guessed_and_bounded_by_its_size(quotes: Quotes) -> None:
    answer = await quotes.of("/audio/transcriptions", file={"bytes": 16_000_000})
    assert answer["quote"] == Decimal("0.1")
    assert answer["ceiling"] == Decimal("3.2")
    both = await quotes.of("/audio/transcriptions", file={"bytes": 16_000_000, "seconds": 600})
    assert both["quote"] == both["ceiling"] == Decimal("0.06")


async def test_a_video_s_price_is_not_made_up(quotes: Quotes) -> None:
    status, issues = await quotes.refused("/video/queue", model="wan-2.6-text-to-video", duration="5s")
    assert (status, [path for path, _ in issues]) == (400, [["body", "model"]])
    assert "No price is known" in issues[0][1]


@pytest.mark.parametrize("base", ["", "/v1", "/api/v1"])
async def test_an_endpoint_may_be_named_with_its_base(quotes: Quotes, base: str) -> None:
    assert (await quotes.of(base + "/image/upscale"))["quote"] == Decimal("0.02")


async def test_nothing_costs_anything_where_all_is_free() -> None:
    free = Quotes(free=True)
    for endpoint, body in (
        (CHAT, {"model": DEAR, "messages": USER}),
        ("/augment/search", {}),
        ("/image/generate", {"model": "nano-banana-pro"}),
    ):
        answer = await free.of(endpoint, **body)
        assert answer["quote"] == answer["ceiling"] == 0
        assert all(line["units"] > 0 and line["price"] == 0 for line in answer["lines"])


# Refusals.


@pytest.mark.parametrize("endpoint", ["/models", "", "/api/v1", "chat/completions", "/video/quote", "/quote"])
async def test_an_endpoint_without_a_price_is_refused_with_those_that_have_one(
    quotes: Quotes, endpoint: str
) -> None:
    status, issues = await quotes.refused(endpoint)
    assert (status, issues[0][0]) == (400, ["endpoint"])
    for known in (CHAT, "/embeddings", "/image/multi-edit", "/audio/transcriptions", "/augment/text-parser"):
        assert known in issues[0][1]


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (CHAT, {"model": "nobody", "messages": USER}),
        ("/embeddings", {"model": "nobody", "input": "x"}),
        ("/image/generate", {"model": "zai-org-glm-4.7"}),
        ("/image/edit", {"model": "nobody"}),
        ("/video/queue", {"model": "nobody"}),
    ],
)
async def test_a_model_that_nobody_knows_is_not_found(
    quotes: Quotes, endpoint: str, body: dict[str, Any]
) -> None:
    status, answer = await quotes.post({"endpoint": endpoint, "body": body})
    assert (status, answer["code"]) == (404, "MODEL_NOT_FOUND")


@pytest.mark.parametrize(
    ("endpoint", "body", "path"),
    [
        ("/image/generate", {}, ["body", "model"]),
        ("/image/generate", {"model": "qwen-image", "variants": 5}, ["body", "variants"]),
        ("/image/generate", {"model": "nano-banana-pro", "resolution": "8K"}, ["body", "resolution"]),
        ("/images/generations", {"n": 2}, ["body", "n"]),
        ("/image/upscale", {"scale": 5}, ["body", "scale"]),
        ("/image/upscale", {"scale": "NaN"}, ["body", "scale"]),
        ("/image/upscale", {"scale": "many"}, ["body", "scale"]),
        ("/audio/speech", {"input": ""}, ["body", "input"]),
        ("/audio/transcriptions", {}, ["body", "file"]),
        ("/audio/transcriptions", {"file": {}}, ["body", "file"]),
        ("/audio/transcriptions", {"file": {"seconds": -1}}, ["body", "file", "seconds"]),
        ("/audio/transcriptions", {"file": {"seconds": "Infinity"}}, ["body", "file", "seconds"]),
        ("/audio/transcriptions", {"file": {"seconds": "sNaN"}}, ["body", "file", "seconds"]),
        ("/audio/transcriptions", {"file": {"seconds": "1e999999"}}, ["body", "file", "seconds"]),
        ("/audio/transcriptions", {"file": {"bytes": 0}}, ["body", "file", "bytes"]),
        ("/embeddings", {"model": "bge-m3", "input": []}, ["body", "input"]),
    ],
)
async def test_a_body_without_a_price_is_refused_where_it_is_wrong(
    quotes: Quotes, endpoint: str, body: dict[str, Any], path: list[str]
) -> None:
    status, issues = await quotes.refused(endpoint, **body)
    assert (status, [at for at, _ in issues]) == (400, [path])


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"{}", ["endpoint"]),
        (b'{"endpoint": "/embeddings"}', ["body"]),
        (b'{"endpoint": "/embeddings", "body": null}', ["body"]),
        (b'{"endpoint": "/embeddings", "body": [1]}', ["body"]),
        (b'{"endpoint": 1, "body": {}}', ["endpoint"]),
        (b'{"endpoint": "/embeddings", "body": {}, "more": 1}', []),
    ],
)
async def test_a_request_for_a_quote_is_an_endpoint_and_a_body(
    quotes: Quotes, raw: bytes, path: list[str]
) -> None:
    status, answer = await quotes.post(raw)
    assert status == 400
    assert answer["issues"][0]["path"] == path


@pytest.mark.parametrize("raw", [b"", b"{", b'{"endpoint": "/embeddings", "body": {"a": ', b"\xff"])
async def test_what_is_not_json_is_said_to_be_none(quotes: Quotes, raw: bytes) -> None:
    status, answer = await quotes.post(raw)
    assert (status, answer["error"]) == (400, "Invalid JSON request")


async def test_the_document_says_how_to_ask(quotes: Quotes) -> None:
    status, document = await quotes.post(b"", "/api/v1/openapi.json", "GET")
    assert status == 200
    quote = document["paths"]["/quote"]["post"]
    assert quote["security"] == [{}, {"BearerAuth": []}]
    schemas = document["components"]["schemas"]
    assert schemas["QuoteRequest"]["properties"]["body"]["type"] == "object"
    assert schemas["QuoteAnswer"]["properties"]["ceiling"]["type"] == "number"
    assert set(schemas["QuoteLine"]["required"]) == {"sku", "units", "price", "amount"}

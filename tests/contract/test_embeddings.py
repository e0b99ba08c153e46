"""POST /embeddings as its clients meet it: what is refused, what other servers are asked, what it costs."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncGenerator, Callable, Generator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fake_engines import Answer, FakeEngine, Seen, engine
from fondaco.embeddings.service import NO_TOKENS
from gateways import ADMIN_KEY
from served_app import ServedApp, binding, credit, exact, served_app

pytestmark = pytest.mark.anyio

PATH = "/embeddings"
VECTOR = [0.6, -0.8, 0.0]
PACKED = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
SKU = "text-embedding-bge-m3-embedding-mtoken"


def said(answer: Any, status: int = 200) -> Answer:
    return Answer([json.dumps(answer).encode()], status, "application/json")


def vectors(seen: Seen) -> Answer:
    """A good answer: so many tokens as there are characters."""
    given = seen.body["input"]
    texts = [given] if isinstance(given, str) else given
    packed = seen.body.get("encoding_format") == "base64"
    made = [
        {"object": "embedding", "index": at, "embedding": PACKED if packed else VECTOR}
        for at in range(len(texts))
    ]
    used = sum(map(len, texts))
    usage = {"prompt_tokens": used, "total_tokens": used}
    return said({"object": "list", "data": made, "model": "theirs", "usage": usage})


class Place:
    """A gateway and the server that is bound to its models."""

    def __init__(self, served: ServedApp, theirs: FakeEngine) -> None:
        self.served = served
        self.theirs = theirs

    def answers(self, answer: Callable[[Seen], Answer]) -> None:
        self.theirs.answer = answer

    async def ask(self, **fields: Any) -> tuple[int, Any]:
        answer = await self.served.ask("POST", PATH, {"model": "text-embedding-bge-m3", **fields})
        return answer.status, answer.json()

    @property
    def last(self) -> Any:
        return self.theirs.seen[-1].body


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, whose gateway is started once."""
    return "asyncio"


@pytest.fixture(scope="module")
def theirs() -> Generator[FakeEngine]:
    with engine(vectors) as running:
        yield running


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory, theirs: FakeEngine) -> AsyncGenerator[ServedApp]:
    bind = {
        "chatty": binding(theirs),
        "text-embedding-bge-m3": binding(theirs, upstream_model="bge"),
        "text-embedding-3-small": binding(theirs),
        "somebodys": binding(theirs, type="embedding", input_usd="2"),
    }
    free = {"abuse_failures": 1_000_000}
    async with served_app(tmp_path_factory.mktemp("gateway"), bind, limits=free) as served:
        yield served


@pytest.fixture
async def place(served: ServedApp, theirs: FakeEngine) -> Place:
    theirs.answer = vectors
    theirs.seen.clear()
    await served.forget()
    return Place(served, theirs)


async def test_the_answer_is_openais_with_the_true_model(place: Place) -> None:
    answer = await place.served.ask("POST", PATH, {"model": "bge-m3", "input": ["ab", "cde"], "user": "me"})
    assert answer.status == 200
    assert answer.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": VECTOR} for at in (0, 1)],
        "model": "text-embedding-bge-m3",
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    assert answer.headers["x-venice-model-id"] == "text-embedding-bge-m3"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 1_000_000
    assert place.last == {"input": ["ab", "cde"], "model": "bge"}


async def test_it_is_compressed_for_whom_it_may_be(place: Place) -> None:
    body = {"model": "bge-m3", "input": ["abc"] * 200}
    told = await place.served.ask("POST", PATH, body, ADMIN_KEY, "accept-encoding: gzip")
    assert told.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("form", ["float", "base64"])
@pytest.mark.parametrize("theirs_form", ["float", "base64"])
async def test_the_form_is_the_callers_whatever_the_server_knows(
    place: Place, form: str, theirs_form: str
) -> None:
    told = VECTOR if theirs_form == "float" else PACKED
    place.answers(lambda seen: said({"data": [{"index": 0, "embedding": told}]}))
    status, answer = await place.ask(input="a", encoding_format=form)
    assert status == 200
    [item] = answer["data"]
    assert item["object"] == "embedding"
    if form == "base64":
        assert item["embedding"] == PACKED
        assert place.last["encoding_format"] == "base64"
    else:
        assert item["embedding"] == pytest.approx(VECTOR)
        assert "encoding_format" not in place.last


async def test_vectors_are_told_in_the_order_of_the_inputs(place: Place) -> None:
    made = [{"index": 1, "embedding": [1.0]}, {"index": 0, "embedding": [0.0]}]
    place.answers(lambda seen: said({"data": made}))
    _, answer = await place.ask(input=["a", "b"])
    assert [(item["index"], item["embedding"]) for item in answer["data"]] == [(0, [0.0]), (1, [1.0])]


async def test_dimensions_reach_a_model_that_takes_them(place: Place) -> None:
    status, _ = await place.ask(model="text-embedding-3-small", input="a", dimensions=256)
    assert (status, place.last["dimensions"]) == (200, 256)
    # The model's own need not be said, which not all servers would take.
    status, _ = await place.ask(input="a", dimensions=1024)
    assert (status, "dimensions" in place.last) == (200, False)
    # Of a model that nobody knows, its server decides.
    status, _ = await place.ask(model="somebodys", input="a", dimensions=7)
    assert (status, place.last["dimensions"]) == (200, 7)


REFUSED: list[tuple[dict[str, Any], list[Any], str]] = [
    ({}, ["input"], "Required"),
    ({"input": None}, ["input"], "Expected"),
    ({"input": ""}, ["input"], "at least 1 character"),
    ({"input": []}, ["input"], "at least 1 element"),
    ({"input": ["a", "b", ""]}, ["input", 2], "at least 1 character"),
    ({"input": ["a"] * 2049}, ["input"], "at most 2048"),
    ({"input": ["a", 5]}, ["input", 1], "mixed"),
    ({"input": [[5], "a"]}, ["input", 1], "mixed"),
    ({"input": [[5], []]}, ["input", 1], "at least 1 element"),
    ({"input": ["a", {"b": 1}]}, ["input", 1], "Expected"),
    ({"input": [5, -6]}, ["input", 1], "greater than or equal to 0"),
    ({"input": [1, 2, 3]}, ["input"], NO_TOKENS),
    ({"input": [[1, 2], [3]]}, ["input"], NO_TOKENS),
    ({"input": "a", "encoding_format": "hex"}, ["encoding_format"], "'float'"),
    ({"input": "a", "dimensions": 0}, ["dimensions"], "greater than or equal to 1"),
    ({"input": "a", "dimensions": 512}, ["dimensions"], "not supported by this model"),
    (
        {"input": "a", "model": "text-embedding-3-small", "dimensions": 1537},
        ["dimensions"],
        "less than or equal to 1536",
    ),
    ({"input": "a", "truncate": True}, [], "'truncate'"),
]


@pytest.mark.parametrize(("fields", "path", "message"), REFUSED, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_is_refused_by_field_and_index(
    place: Place, fields: dict[str, Any], path: list[Any], message: str
) -> None:
    status, answer = await place.ask(**fields)
    assert (status, answer["code"]) == (400, "INVALID_REQUEST")
    [issue] = answer["issues"]
    assert issue["path"] == path
    assert message in issue["message"]
    assert place.theirs.seen == []


@pytest.mark.parametrize(
    ("model", "said_of_it"), [(None, "model must be a string"), (5, "model must be a string")]
)
async def test_the_model_is_looked_at_first(place: Place, model: Any, said_of_it: str) -> None:
    status, answer = await place.ask(model=model, input=[])
    assert (status, answer["error"]) == (400, said_of_it)
    told = await place.served.ask("POST", PATH, {"input": "a"})
    assert told.json()["error"] == "model is required"


async def test_a_chat_model_embeds_nothing(place: Place) -> None:
    status, answer = await place.ask(model="chatty", input="a")
    assert (status, answer["code"]) == (404, "MODEL_NOT_FOUND")


async def test_a_text_that_is_too_long_for_the_server_is_told_as_the_vendor_does(place: Place) -> None:
    told = {"error": {"message": "This model's maximum context length is 8192 tokens", "code": 400}}
    place.answers(lambda seen: said(told, 400))
    status, answer = await place.ask(input="word " * 9000)
    message = "Input text exceeds the maximum token limit of 8192 tokens"
    assert (status, answer["error"]) == (400, message)
    assert answer["issues"] == [{"code": "too_big", "path": ["input"], "message": message}]


BROKEN: list[tuple[Answer, int]] = [
    (said({"data": []}), 502),
    (said({"data": [{"index": 1, "embedding": VECTOR}]}), 502),
    (said({"data": [{"index": 0, "embedding": VECTOR}] * 2}), 502),
    (said({"data": [{"index": 0}]}), 502),
    (said({"data": [{"index": 0, "embedding": "not base64!"}]}), 502),
    (said({"data": [{"index": 0, "embedding": "AAAAAAA="}]}), 502),
    (said({"object": "list"}), 502),
    (Answer([b"\xff"], 200, "application/json"), 502),
    (Answer([b""], 200, "application/json", breaks=True), 502),
    (said({"error": "no"}, 500), 500),
    (said({"error": "busy"}, 429), 429),
    (said({"error": "key"}, 401), 502),
]


@pytest.mark.parametrize(("answer", "status"), BROKEN, ids=range(len(BROKEN)))
async def test_what_a_server_gets_wrong_costs_nothing(place: Place, answer: Answer, status: int) -> None:
    place.answers(lambda seen: answer)
    told, _ = await place.ask(input="a")
    assert told == status
    await asyncio.sleep(0.05)
    assert await place.served.entries() == []


async def test_it_is_paid_by_the_token(place: Place) -> None:
    await place.ask(input=["a" * 700, "b" * 300])
    [row] = await place.served.settled(1)
    assert (row["sku"], row["units"], row["pricePerUnitUsd"]) == (SKU, Decimal("0.001"), Decimal("0.15"))
    assert row["amount"] == Decimal("-0.00015")
    assert row["inferenceDetails"]["promptTokens"] == 1000
    assert await place.served.faults() == []


async def test_tokens_that_nobody_counted_are_reckoned_from_the_characters(place: Place) -> None:
    place.answers(lambda seen: said({"data": [{"index": 0, "embedding": VECTOR}]}))
    _, answer = await place.ask(input="a" * 320)
    assert answer["usage"] == {"prompt_tokens": 100, "total_tokens": 100}
    [row] = await place.served.settled(1)
    assert row["units"] == Decimal("0.0001")


async def test_a_client_that_leaves_pays_for_what_another_server_was_asked(place: Place) -> None:
    place.answers(lambda seen: Answer([], hangs=True))
    wire = await place.served.connect()
    asked = {"model": "somebodys", "input": "a" * 320}
    await wire.send(place.served.request("POST", PATH, asked))
    async with asyncio.timeout(5):
        while not place.theirs.seen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    wire.leave()
    [row] = await place.served.settled(1)
    assert row["amount"] == Decimal("-0.0002")


async def test_a_balance_is_never_overshot(tmp_path: Path, theirs: FakeEngine) -> None:
    bind = {
        "chatty": binding(theirs),
        "somebodys": binding(theirs, type="embedding", input_usd="1000"),
    }
    theirs.answer = vectors
    async with served_app(tmp_path, bind, billing={"mode": "prepaid"}) as served:
        await credit(tmp_path, "0.5")
        body = {"model": "somebodys", "input": "x" * 100}
        answers = await asyncio.gather(*(served.ask("POST", PATH, body) for _ in range(20)))
        good = [answer for answer in answers if answer.status == 200]
        assert {answer.status for answer in answers} == {200, 402}
        # Each costs 0.1, and may cost no more than its bytes and the marks around them.
        assert len(good) in (4, 5)
        assert len(good) * Decimal("0.1") == await served.charged()
        assert await served.faults() == []


async def test_a_quote_is_what_it_will_cost_at_most(place: Place) -> None:
    asked = {"model": "bge-m3", "input": ["a" * 320, "ä" * 10]}
    told = await place.served.ask("POST", "/quote", {"endpoint": PATH, "body": asked})
    quote = exact(told.body)
    status, _ = await place.ask(**asked)
    [row] = await place.served.settled(1)
    assert status == 200
    assert -row["amount"] <= quote["ceiling"]

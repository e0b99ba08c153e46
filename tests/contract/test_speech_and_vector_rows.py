"""The rows for speech, transcription and embeddings of the vendor's price and limit tables, at a whole gateway.

As `test_price_and_limit_rows` for text: an id of each is bound to an engine and asked, and what is read is the
answer, the ledger and the headers. The figures stand here as the lists print them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fake_engines
from audio_files import tone, wav
from fake_engines import Answer, FakeEngine, Seen
from gateways import ADMIN_KEY
from served_app import ServedApp, binding, credit, exact, form, served_app

pytestmark = pytest.mark.anyio

SPEECH, TRANSCRIPTIONS, EMBEDDINGS = "/audio/speech", "/audio/transcriptions", "/embeddings"
AUDIO = b"ID3" + bytes(range(256)) * 40
HEARD = wav(tone(2.5).tobytes())
TOKENS = 12_000


class Goods(NamedTuple):
    path: str
    model: str
    body: Any
    """JSON, or the fields of a form around HEARD."""
    sku: str
    price: str
    """Dollars of a unit."""
    units: str
    requests: int
    """A minute."""
    tokens: int | None = None
    quoted: Any = None
    """What is quoted in place of the body."""

    def written(self) -> Any:
        """What is sent; of a form with a new boundary each time."""
        return form(HEARD, *self.body) if isinstance(self.body, tuple) else self.body

    @property
    def amount(self) -> Decimal:
        return Decimal(self.price) * Decimal(self.units)


PARAKEET = "nvidia/parakeet-tdt-0.6b-v3"
BGE = "text-embedding-bge-m3"
TEXT = "Ahoy, Venice! " * 50
ROWS = [
    Goods(
        SPEECH,
        "tts-kokoro",
        {"model": "tts-kokoro", "input": TEXT},
        "tts-kokoro-tts-mcharacter",
        "3.5",
        "0.0007",
        60,
    ),
    Goods(
        TRANSCRIPTIONS,
        PARAKEET,
        (("model", PARAKEET),),
        f"{PARAKEET}-asr-second",
        "0.0001",
        "2.5",
        60,
        quoted={"model": PARAKEET, "file": {"seconds": 2.5}},
    ),
    Goods(
        EMBEDDINGS,
        BGE,
        {"model": BGE, "input": ["x" * 20_000, "y" * 18_400]},
        f"{BGE}-embedding-mtoken",
        "0.15",
        "0.012",
        500,
        1_000_000,
    ),
]
EACH = pytest.mark.parametrize("goods", ROWS, ids=lambda goods: goods.path)


def made(seen: Seen) -> Answer:
    """What an engine makes of each."""
    if seen.path.endswith(SPEECH):
        return Answer([AUDIO[:3000], AUDIO[3000:]], content_type="audio/mpeg")
    if seen.path.endswith(TRANSCRIPTIONS):
        return said({"text": "a tone", "language": "english", "duration": 2.5, "segments": []})
    given = seen.body["input"]
    count = 1 if isinstance(given, str) else len(given)
    data = [{"index": at, "embedding": [0.6, 0.8]} for at in range(count)]
    tokens = 1 if given == "short" else TOKENS
    return said({"data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def said(answer: Any) -> Answer:
    return Answer([json.dumps(answer).encode()], content_type="application/json")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, whose gateway is started once."""
    return "asyncio"


def bound(engine: FakeEngine) -> dict[str, dict[str, Any]]:
    return {"chatty": binding(engine), **{goods.model: binding(engine) for goods in ROWS}}


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[tuple[ServedApp, FakeEngine]]:
    with fake_engines.engine(made) as engine:
        async with served_app(tmp_path_factory.mktemp("goods"), bound(engine)) as served:
            yield served, engine
            assert await served.faults() == []


@pytest.fixture
async def served(shared: tuple[ServedApp, FakeEngine]) -> ServedApp:
    app, engine = shared
    app.clock.ahead += 61  # what was asked before counts no more
    engine.seen.clear()
    await app.forget()
    return app


@pytest.fixture
def engine(shared: tuple[ServedApp, FakeEngine]) -> FakeEngine:
    return shared[1]


@EACH
async def test_an_answer_costs_and_counts_what_its_row_says(served: ServedApp, goods: Goods) -> None:
    key = await served.key()
    answer = await served.ask("POST", goods.path, goods.written(), key.token)
    assert answer.status == 200, answer.body
    (row,) = await served.settled(1)
    line = (row["sku"], row["pricePerUnitUsd"], row["units"], row["amount"])
    assert line == (goods.sku, Decimal(goods.price), Decimal(goods.units), -goods.amount)
    assert (row["currency"], row["notes"]) == ("USD", "API Inference")
    details = row["inferenceDetails"]
    assert details["requestId"] == answer.headers["cf-ray"]
    assert details["promptTokens"] == (TOKENS if goods.path == EMBEDDINGS else None)
    assert details["inferenceExecutionTime"] >= 0
    assert answer.headers["x-venice-model-id"] == goods.model
    assert answer.headers["x-ratelimit-limit-requests"] == str(goods.requests)
    assert answer.headers["x-ratelimit-remaining-requests"] == str(goods.requests - 1)
    assert answer.headers.get("x-ratelimit-limit-tokens") == (goods.tokens and str(goods.tokens))
    if goods.tokens:
        assert answer.headers["x-ratelimit-remaining-tokens"] == str(goods.tokens - TOKENS)


@EACH
async def test_it_is_quoted_what_it_costs(served: ServedApp, goods: Goods) -> None:
    told = await served.ask("POST", "/quote", {"endpoint": goods.path, "body": goods.quoted or goods.body})
    quote = exact(told.body)
    assert quote["quote"] == goods.amount
    assert quote["ceiling"] >= goods.amount
    assert await served.entries() == [], "a quote costs nothing"


@EACH
async def test_the_same_figures_are_told_where_limits_and_prices_are_listed(
    served: ServedApp, goods: Goods
) -> None:
    listed = (await served.ask("GET", "/api_keys/rate_limits")).json()["data"]["rateLimits"]
    (row,) = (row for row in listed if row["apiModelId"] == goods.model)
    expected = {"RPM": goods.requests} | ({"TPM": goods.tokens} if goods.tokens else {})
    assert {limit["type"]: limit["amount"] for limit in row["rateLimits"]} == expected
    models = exact((await served.ask("GET", "/models?type=all")).body)["data"]
    (pricing,) = (row["model_spec"]["pricing"] for row in models if row["id"] == goods.model)
    assert next(iter(pricing.values()))["usd"] == Decimal(goods.price)


@EACH
async def test_a_tier_admits_its_requests(served: ServedApp, engine: FakeEngine, goods: Goods) -> None:
    key = await served.key()
    body = {"model": goods.model, "input": "short"} if isinstance(goods.body, dict) else goods.written()
    answers = await served.all_at_once(goods.requests + 5, goods.path, body, key.token)
    assert Counter(answer.status for answer in answers) == {200: goods.requests, 429: 5}
    for answer in answers:
        if answer.status == 429:
            assert answer.json()["code"] == "RATE_LIMIT_EXCEEDED"
            assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert len(engine.seen) == goods.requests
    await served.settled(goods.requests)
    served.clock.ahead += 61
    assert (await served.ask("POST", goods.path, body, key.token)).status == 200


async def test_embeddings_are_admitted_until_their_tokens_are_used_up(
    served: ServedApp, engine: FakeEngine
) -> None:
    key = await served.key()
    body = {"model": BGE, "input": "x" * 38_400}
    most = 1_000_000 // TOKENS
    answers = await served.all_at_once(most + 10, EMBEDDINGS, body, key.token)
    assert Counter(answer.status for answer in answers) == {200: most, 429: 10}
    assert len(engine.seen) == most
    log = (await served.ask("GET", f"/api_keys/{key.id}/rate_limit_logs")).json()["data"]
    assert [(row["modelId"], row["rateLimitType"]) for row in log] == [(BGE, "TPM")] * 10


@EACH
async def test_a_keys_cap_is_never_overshot(served: ServedApp, engine: FakeEngine, goods: Goods) -> None:
    quote = exact(
        (await served.ask("POST", "/quote", {"endpoint": goods.path, "body": held_for(goods)})).body
    )
    # Room for four ceilings; each that is settled for less leaves room for more.
    cap = 4 * quote["ceiling"]
    key = await served.key(consumptionLimit={"usd": float(cap)}, limitPeriod="LIFETIME")
    answers = await served.all_at_once(40, goods.path, goods.written(), key.token)
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 402}
    assert statuses[200] >= 4
    assert len(engine.seen) == statuses[200], "what is refused is not asked for"
    for answer in answers:
        if answer.status == 402:
            assert answer.json()["code"] == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
    # And what is left is spent one by one, to the last that can be paid.
    while (last := await served.ask("POST", goods.path, goods.written(), key.token)).status == 200:
        statuses[200] += 1
        served.clock.ahead += 61
        assert statuses[200] < 1000
    assert last.status == 402
    await served.settled(statuses[200])
    spent = await spent_here(served)
    assert spent == statuses[200] * goods.amount <= cap
    assert spent > cap - quote["ceiling"]


@EACH
async def test_a_prepaid_balance_is_never_overshot(tmp_path: Path, engine: FakeEngine, goods: Goods) -> None:
    bind = bound(engine)
    async with served_app(tmp_path, bind, billing={"mode": "prepaid"}, limits={"scale": 0}) as served:
        answer = await served.ask("POST", goods.path, goods.written())
        assert (answer.status, answer.json()["code"]) == (402, "INSUFFICIENT_BALANCE")
        told = await served.ask("POST", "/quote", {"endpoint": goods.path, "body": held_for(goods)})
        money = 3 * exact(told.body)["ceiling"]
        await credit(tmp_path, str(money))
        good = 0
        answers = await served.all_at_once(20, goods.path, goods.written())
        for answer in answers:
            good += answer.status == 200
            assert answer.status in (200, 402)
        assert good >= 3
        assert await served.charged() == good * goods.amount <= money
        balance = exact((await served.ask("GET", "/billing/balance")).body)["balances"]["usd"]
        assert balance == pytest.approx(money - good * goods.amount, abs=Decimal("0.01"))
        assert await served.faults() == []


@EACH
async def test_what_is_to_run_once_is_billed_once(
    served: ServedApp, engine: FakeEngine, goods: Goods
) -> None:
    """A form's boundary is new each time; audio comes again byte by byte."""
    header = f"idempotency-key: once{goods.path}"

    async def ask(body: Any) -> Any:
        return await served.ask("POST", goods.path, body, ADMIN_KEY, header)

    first, again = await ask(goods.written()), await ask(goods.written())
    assert first.status == again.status == 200
    assert first.body == again.body
    if goods.path == SPEECH:
        assert first.body == AUDIO
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = (
        form(HEARD + b"\0\0", *goods.body) if isinstance(goods.body, tuple) else {**goods.body, "model": "x"}
    )
    refused = await ask(other)
    assert (refused.status, refused.json()["code"]) == (409, "idempotency_key_reused")
    assert len(engine.seen) == 1
    await served.settled(1)


async def test_streamed_speech_that_is_to_run_once_comes_again_whole(
    served: ServedApp, engine: FakeEngine
) -> None:
    for more in ({"streaming": True}, {"stream_format": "sse"}):
        header = f"idempotency-key: {next(iter(more))}"
        body = {"model": "tts-kokoro", "input": "Ahoy!", **more}
        first = await served.ask("POST", SPEECH, body, ADMIN_KEY, header)
        again = await served.ask("POST", SPEECH, body, ADMIN_KEY, header)
        assert (first.status, first.body) == (again.status, again.body)
        assert again.headers["idempotent-replayed"] == "true"
    assert len(engine.seen) == 2
    await served.settled(2)


FAULTS = [
    Answer([b'{"error": {"message": "no"}}'], 400, "application/json"),
    Answer([b"down"], 503, "text/plain"),
    Answer([b"not what was asked for"], 200, "text/html"),
    Answer([AUDIO[:100]], 200, "audio/mpeg", breaks=True),
    Answer([], breaks=True),
]


@EACH
async def test_what_an_engine_gets_wrong_costs_nothing(
    served: ServedApp, engine: FakeEngine, goods: Goods
) -> None:
    try:
        for fault in FAULTS:
            engine.answer = lambda seen, fault=fault: fault
            answer = await served.ask("POST", goods.path, goods.written())
            assert answer.status in (400, 500, 502, 503), answer.body
    finally:
        engine.answer = made
    assert await served.entries() == []
    assert (await served.ask("POST", goods.path, goods.written())).status == 200
    await served.settled(1)


def held_for(goods: Goods) -> Any:
    """What is quoted to learn what is held: of a file its size alone is known before it is heard."""
    return {"model": goods.model, "file": {"bytes": len(HEARD)}} if goods.quoted else goods.body


async def spent_here(served: ServedApp) -> Decimal:
    return -sum((row["amount"] for row in await served.entries()), Decimal(0))

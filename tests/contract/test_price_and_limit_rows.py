"""Every text row of the vendor's price and limit tables (January 2026), as a client of a whole gateway meets it.

Each id is bound to an engine and asked; what is read is the answer, the ledger and the headers. The figures stand
here and in `test_price_table.py` as the lists print them, and are not read from our catalogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest
from test_price_table import TEXT

import fake_engines
from fake_engines import Answer, Seen, stream, whole
from served_app import ServedApp, binding, exact, served_app

pytestmark = pytest.mark.anyio

RATES = {"XS": (500, 1_000_000), "S": (75, 750_000), "M": (50, 750_000), "L": (20, 500_000)}
TIERS = {
    "qwen3-4b": "XS",
    "llama-3.2-3b": "XS",
    "mistral-31-24b": "S",
    "venice-uncensored": "S",
    "llama-3.3-70b": "M",
    "qwen3-next-80b": "M",
    "google-gemma-3-27b-it": "M",
}
"""All others are large, and so of tier L."""

USE = {
    "prompt_tokens": 1234,
    "completion_tokens": 567,
    "total_tokens": 1801,
    "prompt_tokens_details": {"cached_tokens": 1000},
}
MILLION = Decimal(10) ** 6


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, whose gateway is started once."""
    return "asyncio"


def used(seen: Seen) -> Answer:
    """An answer that used what stands above, or as many tokens in all as the question says."""
    asked = seen.body["messages"][-1]["content"]
    usage: dict[str, Any] = USE
    if asked.isdigit():
        usage = {"prompt_tokens": int(asked) - 1, "completion_tokens": 1, "total_tokens": int(asked)}
    if seen.body.get("stream"):
        return Answer([stream({"content": "yes"}, usage=usage)])
    return Answer([whole({"content": "yes"}, usage=usage)], content_type="application/json")


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ServedApp, None]:
    with fake_engines.engine(used) as engine:
        bind = {row[0]: binding(engine) for row in TEXT}
        async with served_app(tmp_path_factory.mktemp("rows"), bind) as made:
            yield made
            assert await made.faults() == []


def lines(model_id: str, asked: str, answered: str, cached: str | None) -> dict[str, tuple[Decimal, ...]]:
    """SKU → price a million, millions of tokens, amount, of one answer that used `USE`."""
    read = 1000 if cached else 0
    rows = [("input", asked, 1234 - read), ("cache-input", cached or "0", read), ("output", answered, 567)]
    return {
        f"{model_id}-llm-{name}-mtoken": (Decimal(price), units / MILLION, -units * Decimal(price) / MILLION)
        for name, price, units in rows
        if units
    }


@pytest.mark.parametrize(("model_id", "asked", "answered", "cached"), TEXT)
async def test_an_answer_costs_and_counts_what_its_rows_say(
    served: ServedApp, model_id: str, asked: str, answered: str, cached: str | None
) -> None:
    expected = lines(model_id, asked, answered, cached)
    cost = -sum(amount for _, _, amount in expected.values())
    requests, tokens = RATES[TIERS.get(model_id, "L")]
    for number, streams in enumerate((False, True), 1):
        before = len(await served.entries())
        answer = await served.chat(model=model_id, stream=streams)
        assert answer.status == 200, answer.body
        rows = (await served.entries())[before:]
        assert {row["sku"]: (row["pricePerUnitUsd"], row["units"], row["amount"]) for row in rows} == expected
        for row in rows:
            assert (row["currency"], row["notes"]) == ("USD", "API Inference")
            details = row["inferenceDetails"]
            assert details["requestId"] == answer.headers["cf-ray"]
            assert (details["promptTokens"], details["completionTokens"]) == (1234, 567)
        told = exact(answer.body.split(b"\n\n")[-3][6:] if streams else answer.body)
        assert told["cost"] == {"usd": cost, "diem": 0}
        assert answer.headers["x-venice-model-id"] == told["model"] == model_id
        assert answer.headers["x-ratelimit-limit-requests"] == str(requests)
        assert answer.headers["x-ratelimit-limit-tokens"] == str(tokens)
        assert answer.headers["x-ratelimit-remaining-requests"] == str(requests - number)


async def test_the_same_figures_are_told_where_limits_and_prices_are_listed(served: ServedApp) -> None:
    listed = (await served.ask("GET", "/api_keys/rate_limits")).json()["data"]["rateLimits"]
    told = {
        row["apiModelId"]: tuple(limit["amount"] for limit in row["rateLimits"])
        for row in listed
        if [limit["type"] for limit in row["rateLimits"]] == ["RPM", "TPM"]
    }
    assert told == {row[0]: RATES[TIERS.get(row[0], "L")] for row in TEXT}
    models = exact((await served.ask("GET", "/models?type=text")).body)["data"]
    prices = {row["id"]: row["model_spec"]["pricing"] for row in models}
    for model_id, asked, answered, cached in TEXT:
        pricing = prices[model_id]
        assert pricing["input"]["usd"] == Decimal(asked)
        assert pricing["output"]["usd"] == Decimal(answered)
        assert pricing.get("cache_input", {}).get("usd") == (None if cached is None else Decimal(cached))


@pytest.mark.parametrize(
    ("tier", "model_id"),
    [
        pytest.param("XS", "llama-3.2-3b", marks=pytest.mark.long),
        ("S", "mistral-31-24b"),
        ("M", "llama-3.3-70b"),
        ("L", "claude-opus-45"),
    ],
)
async def test_a_tier_admits_its_requests_and_then_its_tokens(
    served: ServedApp, tier: str, model_id: str
) -> None:
    requests, tokens = RATES[tier]
    served.clock.ahead += 61  # what the tests above asked is over
    key = await served.key()
    answers = await served.at_once(requests + 5, key.token, model=model_id, max_tokens=1)
    assert Counter(answer.status for answer in answers) == {200: requests, 429: 5}
    served.clock.ahead += 61
    some, all_but_some = 1801, tokens - 1801
    assert (await served.chat(key.token, model=model_id, max_tokens=1)).status == 200
    question = [{"role": "user", "content": str(all_but_some)}]
    last = await served.chat(key.token, model=model_id, max_tokens=1, messages=question)
    assert (last.status, last.headers["x-ratelimit-remaining-tokens"]) == (200, "0")
    assert some + all_but_some == tokens
    assert (await served.chat(key.token, model=model_id, max_tokens=1)).status == 429
    log = (await served.ask("GET", f"/api_keys/{key.id}/rate_limit_logs")).json()["data"]
    assert [(row["modelId"], row["rateLimitType"]) for row in log] == [
        (model_id, kind) for kind in ("TPM", *["RPM"] * 5)
    ]

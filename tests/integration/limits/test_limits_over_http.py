"""Rates as a client meets them: the count at the wall, and what the headers of every kind of answer say."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fake_engines
from fake_engines import Answer, Seen, event
from fake_engines import delta as said
from served_app import CHATS, ServedApp, binding, credit, exact, served_app, spends_all

pytestmark = pytest.mark.anyio

RATES = {
    "x-ratelimit-type",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
}
BUDGET = {"x-ratelimit-remaining", "x-ratelimit-resets"}
BALANCES = {"x-venice-balance-usd", "x-venice-balance-diem"}


def told(headers: Mapping[str, str]) -> set[str]:
    """The headers of limits and money."""
    return {name for name in headers if name.startswith(("x-ratelimit-", "x-venice-balance-"))}


def answered(seen: Seen) -> Answer:
    """What the last message asks for."""
    wish = seen.body["messages"][-1]["content"]
    if wish == "fail":
        return Answer([b'{"error":"boom"}'], status=500, content_type="application/json")
    if wish == "wait":
        return Answer([event([said(role="assistant", content="one ")])], hangs=True)
    return spends_all(seen)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncGenerator[ServedApp, None]:
    """`m` is of tier L: 20 requests and 500,000 tokens a minute."""
    with fake_engines.engine(answered) as engine:
        bind = {"m": binding(engine), "qwen3-4b": binding(engine)}
        async with served_app(tmp_path, bind) as made:
            yield made


@pytest.fixture
async def prepaid(tmp_path: Path) -> AsyncGenerator[ServedApp, None]:
    with fake_engines.engine(answered) as engine:
        bind = {"m": binding(engine, input_usd="1", output_usd="10")}
        async with served_app(tmp_path, bind, billing={"mode": "prepaid"}) as made:
            await credit(tmp_path, "0.01")
            await made.ask("GET", "/billing/balance")  # from now on it is known
            yield made


async def test_five_hundred_at_once_are_twenty(served: ServedApp) -> None:
    key = await served.key()
    begun = time.time()
    answers = await served.at_once(500, key.token, max_tokens=4)
    assert Counter(answer.status for answer in answers) == {200: 20, 429: 480}
    left: Counter[str] = Counter()
    for answer in answers:
        headers = answer.headers
        assert told(headers) == RATES | BUDGET
        assert headers["x-ratelimit-limit-requests"] == "20"
        assert headers["x-ratelimit-limit-tokens"] == "500000"
        # The window's end, in Unix seconds; for tokens the seconds until then.
        assert begun + 59 <= int(headers["x-ratelimit-reset-requests"]) <= time.time() + 61
        assert 50 <= int(headers["x-ratelimit-reset-tokens"]) <= 60
        if answer.status == 429:
            assert answer.json() == {"error": "Rate limit exceeded", "code": "RATE_LIMIT_EXCEEDED"}
            assert 50 <= int(headers["retry-after"]) <= 60
            assert headers["x-ratelimit-remaining-requests"] == "0"
        else:
            assert "retry-after" not in headers
            left[headers["x-ratelimit-remaining-requests"]] += 1
    assert sum(left.values()) == 20
    log = await served.ask("GET", "/api_keys/rate_limits/log")
    rows = log.json()["data"]
    assert len(rows) == 50
    assert {(row["apiKeyId"], row["modelId"], row["rateLimitType"]) for row in rows} == {(key.id, "m", "RPM")}
    of_key = await served.ask("GET", f"/api_keys/{key.id}/rate_limit_logs")
    assert of_key.json()["data"] == rows


async def test_a_window_ends_when_its_header_said_and_not_before(served: ServedApp) -> None:
    key = await served.key()
    answers = await served.at_once(20, key.token, max_tokens=1)
    opened = int(answers[0].headers["x-ratelimit-reset-requests"])
    served.clock.ahead += 57
    refused = await served.chat(key.token, max_tokens=1)
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 3
    served.clock.ahead += int(refused.headers["retry-after"])
    again = await served.chat(key.token, max_tokens=1)
    assert again.status == 200, "who waits as long as was said gets in"
    assert again.headers["x-ratelimit-remaining-requests"] == "19"
    assert int(again.headers["x-ratelimit-reset-requests"]) >= opened + 60


async def test_limits_count_by_account_and_model_and_not_by_key(served: ServedApp) -> None:
    one, other = await served.key(), await served.key()
    assert {a.status for a in await served.at_once(20, one.token, max_tokens=1)} == {200}
    assert (await served.chat(other.token, max_tokens=1)).status == 429
    # Another model has a window of its own, in its own tier.
    small = await served.chat(one.token, model="qwen3-4b", max_tokens=1)
    assert small.status == 200
    assert small.headers["x-ratelimit-limit-requests"] == "500"


async def test_what_was_reserved_of_the_tokens_gives_way_to_what_was_used(served: ServedApp) -> None:
    answer = await served.chat(max_tokens=8)
    # Head and settlement are both known before the answer goes.
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(500_000 - 18)
    text = [{"role": "user", "content": "a" * 3200}]
    answer = await served.chat(messages=text)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(500_000 - 18 - 13)
    # A stream's head goes out while the reservation stands: 1,000 for the text, 1,024 for what may be said.
    answer = await served.chat(messages=text, stream=True)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(500_000 - 31 - 2024)
    answer = await served.chat(max_tokens=8)
    assert answer.headers["x-ratelimit-remaining-tokens"] == str(500_000 - 31 - 13 - 18)


async def test_a_failed_answer_counts_as_a_request_and_not_as_tokens(served: ServedApp) -> None:
    failed = await served.chat(messages=[{"role": "user", "content": "fail"}])
    assert failed.status == 500
    assert failed.headers["x-ratelimit-remaining-requests"] == "19"
    assert failed.headers["x-ratelimit-remaining-tokens"] == "500000"


async def test_a_request_that_is_refused_for_money_gives_its_place_back(prepaid: ServedApp) -> None:
    key = await prepaid.key(consumptionLimit={"usd": 0})
    refused = [await prepaid.chat(key.token) for _ in range(25)]
    assert {answer.status for answer in refused} == {402}
    assert refused[-1].headers["x-ratelimit-remaining-requests"] == "20"
    assert refused[-1].headers["x-ratelimit-remaining-tokens"] == "500000"
    # Being out of money is no failure of the client's.
    assert refused[-1].headers["x-ratelimit-remaining"] == "20"


async def test_headers_of_every_kind_of_answer(served: ServedApp) -> None:
    await check_headers(served, BUDGET)


async def test_balances_are_told_in_prepaid_as_they_were_before_each_request(prepaid: ServedApp) -> None:
    capped = await prepaid.key(consumptionLimit={"usd": 0})
    refused = await prepaid.chat(capped.token)
    assert (refused.status, told(refused.headers)) == (402, BUDGET | BALANCES | RATES)
    first = await prepaid.chat(max_tokens=1)
    assert Decimal(first.headers["x-venice-balance-usd"]) == Decimal("0.01")
    assert first.headers["x-venice-balance-diem"] == "0"
    second = await prepaid.chat(max_tokens=1)
    assert Decimal(second.headers["x-venice-balance-usd"]) == Decimal("0.01") - Decimal("0.00002")
    await check_headers(prepaid, BUDGET | BALANCES)
    balance = exact((await prepaid.ask("GET", "/billing/balance")).body)
    assert Decimal("0.01") - balance["balances"]["usd"] == await prepaid.charged()


async def check_headers(app: ServedApp, always: set[str]) -> None:
    async def headers(expected: int, **fields: Any) -> Mapping[str, str]:
        answer = await app.chat(**fields)
        assert answer.status == expected, answer.body
        return answer.headers

    good = await headers(200, max_tokens=1)
    assert told(good) == always | RATES
    assert (good["x-ratelimit-remaining"], good["x-ratelimit-type"]) == ("20", "user")
    assert told(await headers(200, stream=True, max_tokens=1)) == always | RATES
    invalid = await headers(400, temperature=9)
    assert told(invalid) == always
    assert invalid["x-ratelimit-remaining"] == "19"
    missing = await headers(404, model="nobody-has-this")
    assert told(missing) == always
    assert missing["x-ratelimit-remaining"] == "18"
    assert told(await headers(500, messages=[{"role": "user", "content": "fail"}])) == always | RATES
    for path in ("/models", "/api_keys", "/billing/usage", "/api_keys/rate_limits"):
        assert told((await app.ask("GET", path)).headers) == always
    assert told((await app.chat("no-key")).headers) == set()
    await app.at_once(20, (await app.key()).token, max_tokens=1)
    late = await headers(429, max_tokens=1)
    assert told(late) == always | RATES
    assert int(late["retry-after"]) > 0


async def test_more_than_twenty_failures_block_the_key_for_half_a_minute(served: ServedApp) -> None:
    key, other = await served.key(), await served.key()
    for left in range(19, -1, -1):
        answer = await served.chat(key.token, temperature=9)
        assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (400, str(left))
    assert (await served.chat(key.token, max_tokens=1)).status == 200, "twenty are allowed"
    assert (await served.chat(key.token, temperature=9)).status == 400
    blocked = await served.chat(key.token, max_tokens=1)
    assert blocked.status == 429
    assert blocked.json()["error"].startswith("Too many failed attempts (> 20)")
    assert 28 <= int(blocked.headers["retry-after"]) <= 30
    assert (await served.chat(other.token, max_tokens=1)).status == 200
    served.clock.ahead += 30
    assert (await served.chat(key.token, max_tokens=1)).status == 200
    log = (await served.ask("GET", f"/api_keys/{key.id}/rate_limit_logs")).json()["data"]
    assert [row["rateLimitType"] for row in log] == ["FAILED_REQUESTS"]


async def test_a_stream_that_still_runs_holds_its_tokens_and_gives_back_what_it_did_not_use(
    served: ServedApp,
) -> None:
    wire = await served.connect()
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "wait"}],
        "stream": True,
        "max_tokens": 500,
    }
    await wire.send(served.request("POST", CHATS, body))
    status, headers = await wire.head()
    reserved = 500_000 - int(headers["x-ratelimit-remaining-tokens"])
    assert (status, reserved) == (200, 502)  # four letters and 500
    await wire.reader.readuntil(b"\n\n")
    beside = await served.chat(max_tokens=1)
    assert beside.headers["x-ratelimit-remaining-tokens"] == str(500_000 - 502 - 11)
    wire.leave()
    await served.settled(4)  # two lines each
    # Two tokens of prompt, by the reckoning, and the one that was said.
    after = await served.chat(max_tokens=1)
    assert after.headers["x-ratelimit-remaining-tokens"] == str(500_000 - 3 - 11 - 11)
    assert after.headers["x-ratelimit-remaining-requests"] == "17"

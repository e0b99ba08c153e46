"""What a real engine's chats cost: what is made until a client leaves, what the money pays, and how little is held over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal
from statistics import median

import pytest

from fondaco.billing.charge import Charge
from fondaco.billing.line import Bill, total
from fondaco.billing.use import Use
from fondaco.money import NanoUsd
from gateways import TINY
from served_app import CHATS, ServedApp, chunks_of, events, exact, served_app

# A fresh machine fetches the weights within the first test.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

LOCAL_IN, LOCAL_OUT = Decimal("0.00000005"), Decimal("0.00000015")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, whose engine is started once."""
    return "asyncio"


@pytest.fixture(scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ServedApp, None]:
    """The smallest real model, loaded."""
    folder = tmp_path_factory.mktemp("real")
    async with served_app(folder, {}, local=TINY, limits={"scale": 0}) as made:
        async with asyncio.timeout(200):
            while (await made.chat(model=TINY, max_tokens=1)).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield made
        assert await made.faults() == []


async def test_a_real_stream_that_is_left_pays_the_tokens_that_were_made(real: ServedApp) -> None:
    before = len(await real.entries())
    story = [{"role": "user", "content": "Tell me a long story about a lighthouse and the sea."}]
    wire = await real.begin(model=TINY, messages=story, max_tokens=1000)
    got = len(await events(wire, 25)) - 1  # the first says who speaks
    wire.leave()
    rows = await real.settled(before + 2)
    use = rows[-1]["inferenceDetails"]
    assert use["requestId"] == rows[-2]["inferenceDetails"]["requestId"]
    assert got <= use["completionTokens"] <= got + 32, "at most what came within one batch more"
    whole_one = exact((await real.chat(model=TINY, messages=story, max_tokens=1)).body)
    # Nobody counted this prompt: it is reckoned by its characters, the server's own words among them.
    assert use["promptTokens"] <= 2 * whole_one["usage"]["prompt_tokens"]
    paid = -sum(row["amount"] for row in rows[-2:])
    assert paid == use["promptTokens"] * LOCAL_IN + use["completionTokens"] * LOCAL_OUT


async def test_a_real_whole_answer_that_is_left_pays_the_tokens_that_were_made(real: ServedApp) -> None:
    await real.forget()
    wire = await real.connect()
    story = [{"role": "user", "content": "Tell me a very long story about two rivers."}]
    await wire.send(real.request("POST", CHATS, {"model": TINY, "messages": story, "max_tokens": 1000}))
    await asyncio.sleep(0.4)
    wire.leave()
    details = (await real.settled(2))[-1]["inferenceDetails"]
    assert 1 <= details["completionTokens"] < 500


async def test_a_capped_real_stream_that_is_left_pays_the_engines_own_count_of_its_prompt(
    real: ServedApp,
) -> None:
    key = await real.key(consumptionLimit={"usd": 1})
    story = [{"role": "user", "content": "Tell me a long story about a fox and a crow."}]
    whole_one = exact((await real.chat(key.token, model=TINY, messages=story, max_tokens=1)).body)
    before = len(await real.entries())
    wire = await real.begin(key.token, model=TINY, messages=story)
    await events(wire, 10)
    wire.leave()
    rows = await real.settled(before + 2)
    assert rows[-1]["inferenceDetails"]["promptTokens"] == whole_one["usage"]["prompt_tokens"]


async def test_a_real_engine_is_sent_the_limit_that_the_money_pays(real: ServedApp) -> None:
    story = [{"role": "user", "content": "Tell me a long story about the moon."}]
    prompt = exact((await real.chat(model=TINY, messages=story, max_tokens=1)).body)["usage"]["prompt_tokens"]
    cap = prompt * LOCAL_IN + 7 * LOCAL_OUT + Decimal("0.000000149")
    for streams in (False, True):
        key = await real.key(consumptionLimit={"usd": 0}, limitPeriod="LIFETIME")
        body = b'{"consumptionLimit":{"usd":%s}}' % str(cap).encode()
        assert (await real.ask("PATCH", f"/api_keys/{key.id}", body)).status == 200
        answer = await real.chat(key.token, model=TINY, messages=story, stream=streams)
        assert answer.status == 200, answer.body
        told = chunks_of(answer.body)[-1] if streams else exact(answer.body)
        (choice,) = told["choices"]
        assert told["usage"]["completion_tokens"] == 7
        assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "spend_limit")
        assert told["cost"]["usd"] == prompt * LOCAL_IN + 7 * LOCAL_OUT
        refused = await real.chat(key.token, model=TINY, messages=story)
        assert refused.json()["code"] == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"


@pytest.mark.parametrize("count", [4, pytest.param(36, marks=pytest.mark.long)])
async def test_what_is_held_for_a_loaded_engine_is_hardly_more_than_what_is_charged(
    real: ServedApp, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    ratios: list[float] = []
    settle = Charge.settle

    async def charged(self: Charge, bill: Bill, use: Use) -> NanoUsd:
        ratios.append(self.held / total(bill))
        return await settle(self, bill, use)

    monkeypatch.setattr(Charge, "settle", charged)
    key = await real.key(consumptionLimit={"usd": 1})
    things = ["cat", "dog", "sea", "moon", "tree", "book", "rain", "song", "king", "road", "fish", "bird"]
    questions = [
        form.format(thing, "word " * (7 * number))
        for number, thing in enumerate(things)
        for form in ("Tell me about a {}.", "Why {}? {}", "Écris une phrase: {} → {}")
    ]
    for question in questions[:count]:
        messages = [{"role": "user", "content": question}]
        answer = await real.chat(key.token, model=TINY, messages=messages, max_tokens=8)
        if answer.json()["usage"]["completion_tokens"] < 8:
            ratios.pop()
    print(f"ceiling/actual: median {median(ratios):.4f}, worst {max(ratios):.4f} of {len(ratios)}")  # noqa: T201
    assert len(ratios) >= count * 3 // 4 + (count > 4) * 3
    assert min(ratios) >= 1
    assert median(ratios) <= 1.5

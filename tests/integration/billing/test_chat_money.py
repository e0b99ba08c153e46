"""What chats cost, from the client's end of the wire to the ledger: whole, streamed, left, failed, and cut by money."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import fake_engines
from fake_engines import DONE, Answer, FakeEngine, Seen, event, stream, whole
from fake_engines import delta as said
from raw_http import until
from served_app import (
    CHATS,
    USER,
    ServedApp,
    binding,
    chunks_of,
    credit,
    events,
    exact,
    served_app,
    spends_all,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, whose real engine is started once."""
    return "asyncio"


PRICES = {"input_usd": "2", "output_usd": "10"}
IN, OUT = Decimal("0.000002"), Decimal("0.00001")
JSON = "application/json"


class Script:
    """What the engine does next; a test sets it."""

    def __init__(self) -> None:
        self.answer: Callable[[Seen], Answer] = spends_all

    def __call__(self, seen: Seen) -> Answer:
        return self.answer(seen)


@pytest.fixture(scope="module")
def scripted() -> Iterator[tuple[FakeEngine, Script]]:
    script = Script()
    with fake_engines.engine(script) as made:
        yield made, script


@pytest.fixture(scope="module")
async def gateway(
    tmp_path_factory: pytest.TempPathFactory, scripted: tuple[FakeEngine, Script]
) -> AsyncGenerator[ServedApp, None]:
    engine, _ = scripted
    bind = {
        "m": binding(engine, context_tokens=100_000, max_completion_tokens=50_000, **PRICES),
        "deepseek-v3.2": binding(engine),
    }
    limits = {"scale": 0, "abuse_failures": 0}
    async with served_app(tmp_path_factory.mktemp("chats"), bind, limits=limits) as made:
        yield made
        assert await made.faults() == []


@pytest.fixture
def script(scripted: tuple[FakeEngine, Script]) -> Script:
    _, script = scripted
    script.answer = spends_all
    return script


@pytest.fixture
def engine(scripted: tuple[FakeEngine, Script]) -> FakeEngine:
    engine, _ = scripted
    engine.seen.clear()
    engine.left.clear()
    return engine


@pytest.fixture
async def served(gateway: ServedApp, script: Script) -> ServedApp:
    """The one of all tests here; what those before have spent is not told any more."""
    await gateway.forget()
    return gateway


async def tokens(served: ServedApp, lines: int = 2) -> tuple[int | None, int | None]:
    """What the last request used, when it is in the ledger."""
    details = (await served.settled(lines))[-1]["inferenceDetails"]
    return details["promptTokens"], details["completionTokens"]


# Streamed and whole.

CACHED = {
    "prompt_tokens": 1200,
    "completion_tokens": 7,
    "total_tokens": 1207,
    "prompt_tokens_details": {"cached_tokens": 1024},
}
THINKING = {
    "prompt_tokens": 30,
    "completion_tokens": 40,
    "total_tokens": 70,
    "completion_tokens_details": {"reasoning_tokens": 33},
}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}

RECORDED: dict[str, tuple[bytes, bytes]] = {
    "plain": (stream({"content": "Hel"}, {"content": "lo"}), whole({"content": "Hello"})),
    "cached": (stream({"content": "yes"}, usage=CACHED), whole({"content": "yes"}, usage=CACHED)),
    "thinking": (
        stream({"reasoning_content": "hm"}, {"content": "yes"}, usage=THINKING),
        whole({"reasoning_content": "hm", "content": "yes"}, usage=THINKING),
    ),
    "calls": (
        stream({"tool_calls": [CALL]}, finish="tool_calls"),
        whole({"content": None, "tool_calls": [CALL]}, finish="tool_calls"),
    ),
    "nothing said": (stream(), whole({"content": ""})),
}


@pytest.mark.parametrize("model", ["m", "deepseek-v3.2"])
@pytest.mark.parametrize("name", RECORDED)
async def test_a_stream_costs_what_the_folded_answer_costs(
    served: ServedApp, script: Script, name: str, model: str
) -> None:
    streamed, folded = RECORDED[name]
    script.answer = lambda seen: (
        Answer(fake_engines.cut(streamed, 50))
        if seen.body.get("stream")
        else Answer([folded], content_type=JSON)
    )
    one = await served.chat(model=model)
    other = await served.chat(model=model, stream=True)
    assert (one.status, other.status) == (200, 200)
    answer, last = exact(one.body), chunks_of(other.body)[-1]
    assert answer["usage"] == last["usage"]
    assert answer["cost"] == last["cost"]
    rows = [
        (row["sku"], row["pricePerUnitUsd"], row["units"], row["amount"], row["currency"])
        for row in await served.entries()
    ]
    half = len(rows) // 2
    assert half >= 2
    assert rows[:half] == rows[half:]
    assert -sum(row[3] for row in rows[:half]) == answer["cost"]["usd"]
    ids = [row["inferenceDetails"]["requestId"] for row in await served.entries()]
    assert ids == [one.headers["cf-ray"]] * half + [other.headers["cf-ray"]] * half


async def test_tokens_read_from_a_cache_are_a_line_of_their_own(served: ServedApp, script: Script) -> None:
    body = RECORDED["cached"][1]
    script.answer = lambda seen: Answer([body], content_type=JSON)
    answer = exact((await served.chat(model="deepseek-v3.2")).body)
    rows = {row["sku"]: (row["units"], row["amount"]) for row in await served.entries()}
    million = Decimal(10) ** 6
    assert rows == {
        "deepseek-v3.2-llm-input-mtoken": (176 / million, -176 * Decimal("0.40") / million),
        "deepseek-v3.2-llm-cache-input-mtoken": (1024 / million, -1024 * Decimal("0.20") / million),
        "deepseek-v3.2-llm-output-mtoken": (7 / million, -7 * Decimal(1) / million),
    }
    assert answer["cost"] == {"usd": Decimal("0.0002822"), "diem": 0}


async def test_the_charge_is_in_the_ledger_before_the_answers_last_byte(
    served: ServedApp, script: Script
) -> None:
    for streams in (False, True):
        before = len(await served.entries())
        wire = await served.connect()
        body = {"model": "m", "messages": USER, "stream": streams}
        answer = await wire.ask(served.request("POST", CHATS, body))
        # Read on a database of its own, as soon as the answer is here.
        assert len(await served.entries()) == before + 2
        assert answer.status == 200


# A client that leaves.


async def test_a_stream_that_is_left_in_its_middle_pays_what_was_made(
    served: ServedApp, script: Script, engine: FakeEngine
) -> None:
    pieces = [
        event([said(role="assistant", content="")]),
        *(event([said(content=f"w{n} ")]) for n in range(7)),
    ]
    script.answer = lambda seen: Answer(pieces, hangs=True)
    wire = await served.begin()
    got = await events(wire, 8)
    assert sum(bool(chunk["choices"][0]["delta"].get("content")) for chunk in got) == 7
    wire.leave()
    prompt, completion = await tokens(served)
    assert prompt == 1  # "hi", as the vendor reckons
    assert completion == 7
    assert await served.charged() == prompt * IN + completion * OUT
    await until(lambda: bool(engine.left), 1)


async def test_a_client_that_leaves_with_less_than_was_made_pays_what_was_made(
    served: ServedApp, script: Script
) -> None:
    pieces = [event([said(content=f"w{n} ")]) for n in range(40)]
    script.answer = lambda seen: Answer([b"".join(pieces)], hangs=True)
    wire = await served.begin()
    await events(wire, 3)
    wire.leave()
    _, completion = await tokens(served)
    assert completion == 40


async def test_a_stream_that_is_left_when_the_engine_has_counted_pays_that_count(
    served: ServedApp, script: Script
) -> None:
    pieces = [
        event([said(content="a")]),
        event([said(content="b")], usage={"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105}),
    ]
    script.answer = lambda seen: Answer(pieces, hangs=True)
    wire = await served.begin()
    await events(wire, 2)
    wire.leave()
    assert await tokens(served) == (100, 5)


async def test_an_engine_that_counts_at_its_beginning_is_not_taken_for_one_that_made_no_more(
    served: ServedApp, script: Script
) -> None:
    pieces = [
        event([said(role="assistant", content="a")], usage={"prompt_tokens": 100, "completion_tokens": 1}),
        *(event([said(content=f"w{n} ")]) for n in range(30)),
    ]
    script.answer = lambda seen: Answer(pieces, hangs=True)
    wire = await served.begin()
    await events(wire, 31)
    wire.leave()
    assert await tokens(served) == (100, 31)


async def test_whoever_leaves_a_whole_answer_of_another_server_pays_the_prompt_alone(
    served: ServedApp, script: Script, engine: FakeEngine
) -> None:
    script.answer = lambda seen: Answer([b'{"id":'], content_type=JSON, hangs=True)
    wire = await served.connect()
    said_before = {"role": "user", "content": "x" * 320}
    await wire.send(served.request("POST", CHATS, {"model": "m", "messages": [said_before]}))
    await until(lambda: bool(engine.seen))
    await asyncio.sleep(0.02)
    wire.leave()
    assert await tokens(served, 1) == (100, 0)
    assert await served.charged() == 100 * IN


async def test_a_client_that_leaves_before_its_request_is_whole_pays_nothing(
    served: ServedApp, engine: FakeEngine
) -> None:
    for sent in (1, 2):
        wire = await served.connect()
        request = served.request("POST", CHATS, {"model": "m", "messages": USER})
        await wire.send(request[: len(request) * sent // 3])
        await asyncio.sleep(0.02)
        wire.leave()
    await asyncio.sleep(0.1)
    assert await served.entries() == []
    assert engine.seen == []


async def test_who_leaves_when_all_was_said_pays_all_of_it(served: ServedApp, script: Script) -> None:
    """The engine has ended its answer; whether its client heard that is not known."""
    wire = await served.begin(max_tokens=50)
    await events(wire, 2)
    wire.leave()
    assert (await tokens(served))[1] == 50


# Failed inference.

BROKEN: dict[str, Answer] = {
    "500": Answer([b'{"error":"boom"}'], status=500, content_type=JSON),
    "503": Answer([b'{"error":"boom"}'], status=503, content_type=JSON),
    "429": Answer([b'{"error":"boom"}'], status=429, content_type=JSON),
    "400": Answer([b'{"error":"boom"}'], status=400, content_type=JSON),
    "error event first": Answer([b'data: {"error":{"message":"boom","code":500}}\n\n']),
    "error event later": Answer(
        [event([said(content="a")]), b'data: {"error":{"message":"boom","code":500}}\n\n']
    ),
    "breaks": Answer([event([said(content="a")]), event([said(content="b")])], breaks=True),
    "breaks at once": Answer([], breaks=True),
    "nonsense": Answer([b"data: {nonsense\n\n"]),
    "no end": Answer([event([said(content="a")])]),
}


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_fails_is_not_charged(
    served: ServedApp, script: Script, name: str, *, streams: bool
) -> None:
    script.answer = lambda seen: BROKEN[name]
    key = await served.key(consumptionLimit={"usd": 1}, limitPeriod="LIFETIME")
    answer = await served.chat(key.token, stream=streams, max_tokens=100)
    if answer.status == 200:
        assert streams, answer.body
        assert b'"error"' in answer.body
        assert b'"cost"' not in answer.body
    assert await served.entries() == []
    # What was held for it can be spent: nearly all of the dollar.
    script.answer = spends_all
    assert (await served.chat(key.token, max_tokens=49_990)).status == 200
    assert await served.charged() == 10 * IN + 49_990 * OUT


async def test_a_fallback_that_answers_is_what_is_paid(served: ServedApp, script: Script) -> None:
    script.answer = lambda seen: BROKEN["500"] if seen.body["model"] == "m" else spends_all(seen)
    key = await served.key(consumptionLimit={"usd": 1})
    answer = await served.chat(key.token, fallbacks=[{"model": "deepseek-v3.2"}], max_tokens=5)
    assert answer.json()["model"] == "deepseek-v3.2"
    assert {row["sku"] for row in await served.entries()} == {
        "deepseek-v3.2-llm-input-mtoken",
        "deepseek-v3.2-llm-output-mtoken",
    }


# Holds that grow.


def long_answer(count: int, *, ends: bool = True) -> Callable[[Seen], Answer]:
    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    body = [event([said(role="assistant", content="")])]
    body += [b"".join(event([said(content="w ")]) for _ in range(100)) for _ in range(count // 100)]
    if ends:
        body += [event([said(finish="stop")]) + event([], usage=usage) + DONE]
    return lambda seen: Answer(body, hangs=not ends)


def words(chunks: list[dict[str, Any]], index: int = 0) -> int:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return sum(choice["index"] == index and bool(choice["delta"].get("content")) for choice in choices)


async def test_the_hold_of_an_answer_without_a_limit_grows_with_it(
    served: ServedApp, script: Script, engine: FakeEngine
) -> None:
    script.answer = long_answer(9_000)
    key = await served.key(consumptionLimit={"usd": 1})
    chunks = chunks_of((await served.chat(key.token, stream=True)).body)
    assert engine.seen[-1].body["max_tokens"] == 50_000
    final = chunks[-1]
    assert final["choices"][0]["finish_reason"] == "stop"
    assert final["cost"]["usd"] == 10 * IN + 9_000 * OUT == await served.charged()
    # The rest of the dollar is free again.
    assert (await served.chat(key.token, max_tokens=40_900)).status == 200


@pytest.mark.parametrize("mode", ["metered", "prepaid"])
async def test_a_streamed_answer_ends_where_the_money_does(
    tmp_path: Path, script: Script, engine: FakeEngine, mode: str
) -> None:
    script.answer = long_answer(4_400, ends=False)
    facts = {"context_tokens": 100_000, "max_completion_tokens": 50_000, **PRICES}
    bind = {"m": binding(engine, **facts)}
    async with served_app(tmp_path, bind, billing={"mode": mode}, limits={"scale": 0}) as served:
        cap = Decimal("0.05")
        if mode == "prepaid":
            await credit(tmp_path, "0.05")
            key = await served.key()
        else:
            key = await served.key(consumptionLimit={"usd": 0.05})
        answer = await served.chat(key.token, stream=True, stream_options={"include_usage": True})
        assert answer.status == 200
        *_, final, usage = chunks = chunks_of(answer.body)
        (choice,) = final["choices"]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "spend_limit")
        assert usage["choices"] == []
        assert usage["cost"] == final["cost"]
        # Two steps could be held, a third could not.
        assert 2 * 2048 - 2 <= words(chunks) <= 2 * 2048
        charged = await served.charged()
        assert charged == final["cost"]["usd"]
        assert Decimal("0.04") < charged <= cap
        await until(lambda: bool(engine.left), 1)
        # What is left still pays for something.
        script.answer = spends_all
        again = await served.chat(key.token, max_tokens=100)
        assert again.status == 200
        assert await served.charged() == charged + 10 * IN + 100 * OUT
        assert await served.faults() == []


async def test_of_several_choices_the_one_that_had_ended_stays_and_the_other_is_cut(
    served: ServedApp, script: Script
) -> None:
    """The first says all it has to say in the very piece in which the money runs out."""
    body = [event([said(n, role="assistant", content="")]) for n in (0, 1)]
    body += [event([said(n % 2, content="w ")]) for n in range(2 * 2048 - 2 - 10)]
    body.append(b"".join([*(event([said(1, content="w ")]) for _ in range(9)), event([said(finish="stop")])]))
    body += [event([said(1, content="w ")]) for _ in range(50)]
    script.answer = lambda seen: Answer([b"".join(body[:4000]), *body[4000:]], hangs=True)
    key = await served.key(consumptionLimit={"usd": 0.05}, limitPeriod="LIFETIME")
    chunks = chunks_of((await served.chat(key.token, stream=True, n=2)).body)
    ends = {
        choice["index"]: (choice["finish_reason"], choice.get("stop_reason"))
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["finish_reason"]
    }
    assert ends == {0: ("stop", None), 1: ("length", "spend_limit")}
    assert words(chunks, 0) + words(chunks, 1) <= 2 * 2048
    assert await served.charged() == chunks[-1]["cost"]["usd"] <= Decimal("0.05")


async def test_a_limit_that_the_money_cannot_pay_is_lowered_to_what_it_can(
    served: ServedApp, engine: FakeEngine
) -> None:
    key = await served.key(consumptionLimit={"usd": 0.01}, limitPeriod="LIFETIME")
    answer = await served.chat(key.token, max_tokens=5_000)
    sent = engine.seen[-1].body["max_tokens"]
    assert 900 <= sent < 1_000
    (choice,) = answer.json()["choices"]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("length", "spend_limit")
    assert await served.charged() == 10 * IN + sent * OUT <= Decimal("0.01")
    # One that is cut by its caller's own limit says nothing of money.
    rich = await served.key(consumptionLimit={"usd": 1})
    again = await served.chat(rich.token, max_tokens=1)
    assert again.json()["choices"][0]["stop_reason"] is None


async def test_an_answer_that_cannot_be_watched_is_held_whole(served: ServedApp, engine: FakeEngine) -> None:
    """Another server's whole answer cannot be stopped on its way: all that the money pays is held, and said."""
    key = await served.key(consumptionLimit={"usd": 0.10}, limitPeriod="LIFETIME")
    answer = await served.chat(key.token)
    sent = engine.seen[-1].body["max_tokens"]
    assert 9_900 <= sent < 10_000
    assert answer.json()["usage"]["completion_tokens"] == sent
    assert await served.charged() <= Decimal("0.10")
    assert (await served.chat(key.token)).status == 402


async def test_an_engine_that_makes_more_than_it_may_is_paid_no_more_than_was_held(
    served: ServedApp, script: Script
) -> None:
    usage = {"prompt_tokens": 10_000, "completion_tokens": 10_000, "total_tokens": 20_000}
    script.answer = lambda seen: Answer([whole({"content": "yes"}, usage=usage)], content_type=JSON)
    key = await served.key(consumptionLimit={"usd": 0.05}, limitPeriod="LIFETIME")
    answer = exact((await served.chat(key.token, max_tokens=100)).body)
    charged = await served.charged()
    assert answer["cost"]["usd"] == charged < Decimal("0.0015")
    # The same without a cap is charged as it is.
    free = exact((await served.chat(max_tokens=100)).body)
    assert free["cost"]["usd"] == 10_000 * IN + 10_000 * OUT

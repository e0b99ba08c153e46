"""The official clients at our walls: they wait as long as we say, give up where waiting is of no use, and repeat safely."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from decimal import Decimal
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from test_openai_node import Client as NodeClient
from test_openai_node import client as node_client  # noqa: F401  # pyright: ignore[reportUnusedImport]

import fake_engines
from fake_engines import Answer, FakeEngine, Seen
from gateways import ADMIN_KEY
from served_app import Key, ServedApp, binding, served_app, spends_all

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]  # npm may have to fetch the client first

ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for the module, whose gateway is started once."""
    return "asyncio"


@pytest.fixture(scope="module")
def slow() -> Iterator[FakeEngine]:
    def slowly(seen: Seen) -> Answer:
        answer = spends_all(seen)
        answer.pause = 0.05
        return answer

    with fake_engines.engine(slowly) as made:
        yield made


@pytest.fixture(scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, slow: FakeEngine
) -> AsyncGenerator[ServedApp, None]:
    bind = {"m": binding(slow, input_usd="1", output_usd="10")}
    async with served_app(tmp_path_factory.mktemp("backoff"), bind) as made:
        yield made
        assert await made.faults() == []


@pytest.fixture
def engine(served: ServedApp, slow: FakeEngine) -> FakeEngine:
    """A minute after all that was before."""
    served.clock.ahead += 61
    slow.seen.clear()
    return slow


@pytest.fixture
async def key(served: ServedApp) -> Key:
    return await served.key()


def client_of(served: ServedApp, key: Key, **given: Any) -> Any:
    """The client, less its types, which know of no field but its vendor's."""
    return AsyncOpenAI(base_url=served.base_url, api_key=key.token, **given)


async def use_up(served: ServedApp) -> None:
    """All of the window's requests, of which the last second but one has begun."""
    assert {answer.status for answer in await served.at_once(20, ADMIN_KEY, max_tokens=1)} == {200}
    refused = await served.chat(max_tokens=1)
    assert refused.status == 429
    served.clock.ahead += int(refused.headers["retry-after"]) - 1.2


async def refusals(served: ServedApp, key: Key) -> int:
    log = await served.ask("GET", f"/api_keys/{key.id}/rate_limit_logs")
    return len(log.json()["data"])


async def test_the_python_client_waits_as_long_as_it_is_told_and_gets_its_answer(
    served: ServedApp, engine: FakeEngine, key: Key
) -> None:
    await use_up(served)
    async with client_of(served, key, max_retries=2) as client:
        begun = time.monotonic()
        answer = await client.chat.completions.create(**ASKED)
        took = time.monotonic() - begun
    assert answer.choices[0].message.content == "yes"
    assert 1 <= took < 4
    # It asked once too early at most: the window's end was told, not guessed.
    assert await refusals(served, key) == 1 + (took > 2.1)
    assert len(engine.seen) == 21


async def test_without_retries_it_raises_its_rate_limit_error_with_our_code(
    served: ServedApp, engine: FakeEngine, key: Key
) -> None:
    await use_up(served)
    async with client_of(served, key, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(**ASKED)
    assert raised.value.response.json()["code"] == "RATE_LIMIT_EXCEEDED"
    assert raised.value.response.headers["retry-after"] in ("1", "2")
    assert len(engine.seen) == 20


@pytest.mark.parametrize("streams", [False, True])
async def test_it_raises_a_402_at_once_and_shows_which_wall_it_was(
    served: ServedApp, engine: FakeEngine, *, streams: bool
) -> None:
    key = await served.key(consumptionLimit={"usd": 0})
    async with client_of(served, key, max_retries=5) as client:
        begun = time.monotonic()
        with pytest.raises(openai.APIStatusError) as raised:
            await client.chat.completions.create(**ASKED, stream=streams)
        assert time.monotonic() - begun < 0.4
    error = raised.value
    assert error.status_code == 402
    assert error.response.json()["code"] == "API_KEY_USD_SPEND_LIMIT_EXCEEDED"
    # The contract's `error` is a sentence, which this client keeps as the error's body.
    assert isinstance(error.body, str)
    assert "reached its configured USD spending limit" in error.body
    assert engine.seen == []


@pytest.mark.parametrize("streams", [False, True])
async def test_a_repeat_under_its_idempotency_key_is_the_same_answer_and_is_charged_once(
    served: ServedApp, engine: FakeEngine, key: Key, *, streams: bool
) -> None:
    before = await served.charged()

    async def ask(client: Any) -> list[Any]:
        headers = {"Idempotency-Key": f"the first {streams}"}
        answer = await client.chat.completions.create(**ASKED, stream=streams, extra_headers=headers)
        if not streams:
            return [answer.model_dump()]
        return [chunk.model_dump() async for chunk in answer]

    async with client_of(served, key) as client:
        first, again = await ask(client), await ask(client)
    assert first == again
    assert len(engine.seen) == 1
    assert await served.charged() - before == Decimal("0.00004")


async def test_one_that_comes_while_the_first_still_runs_waits_and_gets_its_answer(
    served: ServedApp, engine: FakeEngine, key: Key
) -> None:
    before = await served.charged()
    headers = {"Idempotency-Key": "at once"}
    async with client_of(served, key, max_retries=3) as client:
        asked = [client.chat.completions.create(**ASKED, extra_headers=headers) for _ in range(4)]
        answers = await asyncio.gather(*asked)
    assert len({answer.id for answer in answers}) == 1
    assert len(engine.seen) == 1
    assert await served.charged() - before == Decimal("0.00004")


@pytest.mark.long
async def test_the_node_client_waits_as_long_as_it_is_told_too(
    served: ServedApp,
    engine: FakeEngine,
    key: Key,
    node_client: NodeClient,  # noqa: F811
) -> None:
    class Address:
        base_url = served.base_url

    await use_up(served)
    told = await asyncio.to_thread(node_client, Address, "backing_off")  # pyright: ignore[reportArgumentType]
    assert told["text"] == "yes"
    assert told["seconds"] >= 1
    assert len(engine.seen) == 21

"""A cap is never overshot: a thousand requests at once for the last dollar, at one gateway and at two."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import fake_engines
from fake_engines import FakeEngine
from gateways import Gateway, running
from raw_http import Answer
from served_app import Client, binding, credit, faults, served_app, spends_all

pytestmark = pytest.mark.anyio

CENTS = {"input_usd": "0", "output_usd": "30000"}
"""One token of an answer costs three cents: with `max_tokens` 1 the ceiling is the cost, and nothing less is of use."""

REFUSED_BY_KEY = (402, "API_KEY_USD_SPEND_LIMIT_EXCEEDED")
REFUSED_BY_ACCOUNT = (402, "INSUFFICIENT_BALANCE")


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    with fake_engines.engine(spends_all) as made:
        yield made


def outcomes(answers: Sequence[Answer]) -> Counter[tuple[int, str | None]]:
    return Counter((answer.status, answer.json().get("code")) for answer in answers)


def config(engine: FakeEngine) -> str:
    return f"[limits]\nscale = 0\n[log]\naccess = false\n{fake_engines.binding('m', engine, **CENTS)}"


def client_of(gateway: Gateway) -> Client:
    return Client(urlsplit(gateway.root).port or 0)


async def spend_a_dollar(client: Client, engine: FakeEngine) -> None:
    """A thousand at once, with a key that may spend one dollar."""
    asked = len(engine.seen)
    key = await client.key(consumptionLimit={"usd": 1}, limitPeriod="LIFETIME")
    answers = await client.at_once(1000, key.token, max_tokens=1)
    assert outcomes(answers) == {(200, None): 33, REFUSED_BY_KEY: 967}
    assert len(engine.seen) - asked == 33
    assert await client.charged() == Decimal("0.99")
    for answer in answers:
        if answer.status == 402:
            assert "reached its configured USD spending limit" in answer.json()["error"]
        else:
            assert answer.json()["cost"] == {"usd": 0.03, "diem": 0}
    row = (await client.ask("GET", f"/api_keys/{key.id}")).json()["data"]
    assert row["currentPeriodUsage"]["usd"] == "0.9900"
    # Nobody else is kept from anything.
    assert (await client.chat(max_tokens=1)).status == 200


async def test_a_thousand_at_once_for_a_dollar_are_thirty_three_at_three_cents(
    tmp_path: Path, engine: FakeEngine
) -> None:
    async with served_app(tmp_path, {"m": binding(engine, **CENTS)}, limits={"scale": 0}) as served:
        await spend_a_dollar(served, engine)
        assert await served.faults() == []


@pytest.mark.long
async def test_a_gateway_that_is_a_process_of_its_own_admits_thirty_three_too(
    tmp_path: Path, engine: FakeEngine
) -> None:
    with running(tmp_path, config=config(engine)) as gateway:
        client = client_of(gateway)
        await spend_a_dollar(client, engine)
        client.close()
    assert await faults(gateway.data_dir) == []


@pytest.mark.long
async def test_two_gateways_on_one_database_admit_thirty_three_between_them(
    tmp_path: Path, engine: FakeEngine
) -> None:
    asked = len(engine.seen)
    with (
        running(tmp_path / "one", config=config(engine)) as one,
        running(tmp_path / "other", config=config(engine), data_dir=one.data_dir) as other,
    ):
        clients = [client_of(one), client_of(other)]
        key = await clients[0].key(consumptionLimit={"usd": 1}, limitPeriod="LIFETIME")
        # Both know the key, and each has had its part of the money before the rush.
        for client in clients:
            assert (await client.chat(key.token, max_tokens=1)).status == 200
        halves = await asyncio.gather(*(client.at_once(499, key.token, max_tokens=1) for client in clients))
        assert outcomes([*halves[0], *halves[1]]) == {(200, None): 31, REFUSED_BY_KEY: 967}
        assert len(engine.seen) - asked == 33
        assert [await client.charged() for client in clients] == [Decimal("0.99")] * 2
        for client in clients:
            client.close()
    assert await faults(one.data_dir) == []


@pytest.mark.long
async def test_a_prepaid_dollar_is_thirty_three_at_three_cents(tmp_path: Path, engine: FakeEngine) -> None:
    bind = {"m": binding(engine, **CENTS)}
    async with served_app(tmp_path, bind, billing={"mode": "prepaid"}, limits={"scale": 0}) as served:
        await credit(tmp_path, "1.00")
        key = await served.key()
        answers = await served.at_once(1000, key.token, max_tokens=1)
        assert outcomes(answers) == {(200, None): 33, REFUSED_BY_ACCOUNT: 967}
        assert await served.charged() == Decimal("0.99")
        balance = (await served.ask("GET", "/billing/balance")).json()
        assert balance["balances"] == {"usd": 0.01, "diem": None}
        # Two more cents make three.
        await credit(tmp_path, "0.02")
        assert (await served.chat(key.token, max_tokens=1)).status == 200
        assert (await served.chat(key.token, max_tokens=1)).status == 402
        assert await served.charged() == Decimal("1.02")
        assert await served.faults() == []


async def test_the_nearer_of_a_keys_cap_and_its_accounts_balance_is_the_one_that_is_named(
    tmp_path: Path, engine: FakeEngine
) -> None:
    bind = {"m": binding(engine, **CENTS)}
    async with served_app(tmp_path, bind, billing={"mode": "prepaid"}, limits={"scale": 0}) as served:
        await credit(tmp_path, "0.30")
        key = await served.key(consumptionLimit={"usd": 0.06})
        answers = await served.at_once(20, key.token, max_tokens=1)
        assert outcomes(answers) == {(200, None): 2, REFUSED_BY_KEY: 18}
        other = await served.key(consumptionLimit={"usd": 5})
        answers = await served.at_once(20, other.token, max_tokens=1)
        assert outcomes(answers) == {(200, None): 8, REFUSED_BY_ACCOUNT: 12}
        assert await served.charged() == Decimal("0.30")
        assert await served.faults() == []


async def test_a_raised_cap_counts_at_once_and_a_lowered_one_too(tmp_path: Path, engine: FakeEngine) -> None:
    bind = {"m": binding(engine, **CENTS)}
    async with served_app(tmp_path, bind, limits={"scale": 0}) as served:
        key = await served.key(consumptionLimit={"usd": 0.06}, limitPeriod="LIFETIME")
        assert outcomes(await served.at_once(5, key.token, max_tokens=1))[200, None] == 2
        for cap, more in ((0.12, 2), (0.09, 0), (0.03, 0), (0.15, 1)):
            changed = await served.ask("PATCH", f"/api_keys/{key.id}", {"consumptionLimit": {"usd": cap}})
            assert changed.status == 200
            assert outcomes(await served.at_once(5, key.token, max_tokens=1))[200, None] == more
        changed = await served.ask("PATCH", f"/api_keys/{key.id}", {"consumptionLimit": {"usd": None}})
        assert outcomes(await served.at_once(5, key.token, max_tokens=1))[200, None] == 5
        assert await served.charged() == Decimal("0.03") * 10
        assert await served.faults() == []


async def test_what_is_left_of_a_cap_is_paid_out_in_a_shorter_answer(
    tmp_path: Path, engine: FakeEngine
) -> None:
    def asked() -> list[int]:
        return [seen.body["max_tokens"] for seen in engine.seen[before:]]

    before = len(engine.seen)
    bind = {"m": binding(engine, input_usd="0", output_usd="30")}
    async with served_app(tmp_path, bind, limits={"scale": 0}) as served:
        key = await served.key(consumptionLimit={"usd": 1})
        answers = await served.at_once(100, key.token, max_tokens=1000)
        assert outcomes(answers) == {(200, None): 34, REFUSED_BY_KEY: 66}
        assert Counter(asked()) == {1000: 33, 333: 1}
        (short,) = [answer.json() for answer in answers if b'"completion_tokens":333' in answer.body]
        assert (short["choices"][0]["finish_reason"], short["choices"][0]["stop_reason"]) == (
            "length",
            "spend_limit",
        )
        assert await served.charged() == Decimal("0.99999")
        assert await served.faults() == []

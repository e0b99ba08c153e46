"""The routes that tell a key its limits, with real keys over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fondaco.errors import KeyNotFound
from fondaco.http.call import Call
from fondaco.http.reply import Header
from fondaco.http.routing import Routes
from fondaco.keys.caller import Caller
from fondaco.keys.secret import server_secret
from fondaco.keys.service import KeyService, NewKey
from fondaco.limits.refusals import RefusalLog
from fondaco.limits.report import LimitReport
from fondaco.limits.routes import routes
from fondaco.limits.ticket import Ticket
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model
from fondaco.money import NanoUsd, from_decimal
from fondaco.store.sqlite import Database
from limit_parts import START, HandClock, opened

pytestmark = pytest.mark.anyio


class Purse(msgspec.Struct, frozen=True):
    usd: NanoUsd = NanoUsd(0)
    diem: NanoUsd = NanoUsd(0)
    bundled: NanoUsd = NanoUsd(0)


class Funds:
    def __init__(self) -> None:
        self.purses: dict[str, Purse] = {}

    async def balances(self, account_id: str) -> Purse:
        return self.purses.get(account_id, Purse())


class NoClient:
    def answer(self, status: int, headers: Iterable[Header], body: bytes) -> None: ...
    def begin(self, status: int, headers: Iterable[Header]) -> None: ...
    def piece(self, data: bytes) -> None: ...
    def end(self) -> None: ...
    def clogged(self) -> asyncio.Future[None] | None: ...
    def continue_body(self) -> None: ...


MODELS = ("qwen3-4b", "claude-opus-45", "tts-kokoro", "venice-sd35", "text-embedding-bge-m3")


class House:
    def __init__(self, database: Database, data_dir: Path) -> None:
        self.clock = HandClock()
        self.keys = KeyService(database, server_secret(data_dir), self.clock)
        self.funds = Funds()
        self.refusals = RefusalLog(database, self.clock)
        self.routes = self.made()

    def made(self, **how: Any) -> Routes:
        catalogue = Catalogue()

        def models() -> list[Model]:
            return [model for name in MODELS if (model := catalogue.find(name)) is not None]

        report = LimitReport(self.keys, self.funds, self.refusals, models, self.clock, **how)
        return Routes(routes(report))

    async def ask(self, key: NewKey, path: str, routes: Routes | None = None) -> Any:
        match = (routes or self.routes).find("GET", "/api/v1" + path)
        call = Call(NoClient(), "GET", path, b"", {})
        call.ticket = Ticket(await self.keys.authenticate(key.token.encode()), call.request_id)
        call.path_params = match.params
        reply = await match.route.endpoint(call)
        assert reply.status == 200
        return msgspec.json.decode(reply.body)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = await opened(tmp_path, "ann", "ben")
    house = House(database, tmp_path)
    yield house
    await house.keys.close()
    await house.refusals.close()
    await database.close()


async def test_a_key_is_told_its_rates_and_the_balances_of_its_account(house: House) -> None:
    key = await house.keys.create("ann", "INFERENCE", "mine", START + timedelta(days=3))
    house.funds.purses["ann"] = Purse(from_decimal("50.23"), from_decimal("100.023"))
    assert await house.ask(key, "/api_keys/rate_limits") == {
        "data": {
            "accessPermitted": True,
            "apiTier": {"id": "paid", "isCharged": True},
            "balances": {"USD": 50.23, "DIEM": 100.023},
            "keyExpiration": "2026-03-04T12:00:00.250Z",
            "nextEpochBegins": "2026-03-02T00:00:00.000Z",
            "rateLimits": [
                {
                    "apiModelId": "qwen3-4b",
                    "rateLimits": [{"amount": 500, "type": "RPM"}, {"amount": 1_000_000, "type": "TPM"}],
                },
                {
                    "apiModelId": "claude-opus-45",
                    "rateLimits": [{"amount": 20, "type": "RPM"}, {"amount": 500_000, "type": "TPM"}],
                },
                {"apiModelId": "tts-kokoro", "rateLimits": [{"amount": 60, "type": "RPM"}]},
                {"apiModelId": "venice-sd35", "rateLimits": [{"amount": 20, "type": "RPM"}]},
                {
                    "apiModelId": "text-embedding-bge-m3",
                    "rateLimits": [{"amount": 500, "type": "RPM"}, {"amount": 1_000_000, "type": "TPM"}],
                },
            ],
        }
    }


async def test_bundled_credits_are_told_where_there_are_any(house: House) -> None:
    key = await house.keys.create("ann", "INFERENCE", "mine")
    house.funds.purses["ann"] = Purse(bundled=from_decimal("7"))
    told = await house.ask(key, "/api_keys/rate_limits")
    assert told["data"]["balances"] == {"USD": 0, "DIEM": 0, "BUNDLED_CREDITS": 7}
    assert told["data"]["keyExpiration"] is None


@pytest.mark.parametrize(
    ("how", "purse", "permitted"),
    [
        ({}, Purse(), True),
        ({"least_balance": 0}, Purse(), False),
        ({"least_balance": 0}, Purse(diem=NanoUsd(1)), True),
        ({"least_balance": 10**8}, Purse(usd=NanoUsd(10**8)), False),
        ({"least_balance": 10**8}, Purse(usd=NanoUsd(10**8 + 1)), True),
        ({"least_balance": 0, "free": True}, Purse(), True),
    ],
)
async def test_access_is_permitted_where_the_account_could_pay(
    house: House, how: dict[str, Any], purse: Purse, permitted: bool
) -> None:
    key = await house.keys.create("ann", "INFERENCE", "mine")
    house.funds.purses["ann"] = purse
    told = (await house.ask(key, "/api_keys/rate_limits", house.made(**how)))["data"]
    assert told["accessPermitted"] is permitted
    assert told["apiTier"]["isCharged"] is not how.get("free", False)


async def test_limits_are_told_as_they_are_scaled_and_lifted_ones_not_at_all(house: House) -> None:
    key = await house.keys.create("ann", "INFERENCE", "mine")
    told = await house.ask(key, "/api_keys/rate_limits", house.made(scale=2))
    assert told["data"]["rateLimits"][1]["rateLimits"][0] == {"amount": 40, "type": "RPM"}
    told = await house.ask(key, "/api_keys/rate_limits", house.made(scale=0))
    assert [row["rateLimits"] for row in told["data"]["rateLimits"]] == [[]] * len(MODELS)


async def test_an_admin_reads_the_limits_of_another_key_of_its_account(house: House) -> None:
    admin = await house.keys.create("ann", "ADMIN", "admin")
    other = await house.keys.create("ann", "INFERENCE", "other", START + timedelta(hours=1))
    told = await house.ask(admin, f"/api_keys/{other.id}/rate_limits")
    assert told["data"]["keyExpiration"] == "2026-03-01T13:00:00.250Z"


@pytest.mark.parametrize("path", ["rate_limits", "rate_limit_logs"])
async def test_keys_of_others_and_keys_that_ended_are_as_if_they_had_never_been(
    house: House, path: str
) -> None:
    admin = await house.keys.create("ann", "ADMIN", "admin")
    foreign = await house.keys.create("ben", "INFERENCE", "foreign")
    revoked = await house.keys.create("ann", "INFERENCE", "revoked")
    await house.keys.revoke(revoked.id)
    for key_id in (foreign.id, revoked.id, "no-such-key", "rate_limits", "x" * 5000, "é\0"):
        with pytest.raises(KeyNotFound) as raised:
            await house.ask(admin, f"/api_keys/{key_id}/{path}")
        assert (raised.value.status, raised.value.message) == (400, "API key not found")


async def test_the_log_is_the_accounts_and_by_id_one_keys(house: House) -> None:
    admin = await house.keys.create("ann", "ADMIN", "admin")
    other = await house.keys.create("ann", "INFERENCE", "other")
    for n, key in enumerate((admin, other, admin)):
        house.clock.passed = n
        house.refusals.note(Caller(key.id, "ann", key.kind), "qwen3-4b", "RPM")
    house.refusals.note(Caller("foreign", "ben", "ADMIN"), "qwen3-4b", "TPM")
    whole = await house.ask(admin, "/api_keys/rate_limits/log")
    assert whole["object"] == "list"
    assert [row["apiKeyId"] for row in whole["data"]] == [admin.id, other.id, admin.id]
    one = await house.ask(admin, f"/api_keys/{other.id}/rate_limit_logs")
    assert one == {
        "object": "list",
        "data": [
            {
                "apiKeyId": other.id,
                "modelId": "qwen3-4b",
                "rateLimitTier": "paid",
                "rateLimitType": "RPM",
                "timestamp": "2026-03-01T12:00:01.250Z",
            }
        ],
    }


def test_only_a_keys_own_limits_are_for_every_key() -> None:
    report: Any = None
    access = {route.operation.path: route.operation.access for route in routes(report)}
    assert access == {
        "/api_keys/rate_limits": "key",
        "/api_keys/rate_limits/log": "admin",
        "/api_keys/{id}/rate_limits": "admin",
        "/api_keys/{id}/rate_limit_logs": "admin",
    }

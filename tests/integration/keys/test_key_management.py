"""What happens around the routes for keys: other processes, the ledger's part, how many there may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from fondaco.errors import InvalidRequest
from fondaco.keys import service as module
from fondaco.keys.caller import SpendLimits
from fondaco.store.schema import api_keys
from key_desk import open_desk

pytestmark = pytest.mark.anyio


async def test_a_key_revoked_or_limited_at_one_gateway_is_so_at_the_other_within_100_ms(
    tmp_path: Path,
) -> None:
    async with open_desk(tmp_path) as here, open_desk(tmp_path) as there:
        loop = asyncio.get_running_loop()
        slowest = 0.0
        for _ in range(3):
            made = await here.make()
            token = made["apiKey"].encode()
            assert (await there.keys.authenticate(token)).limits is None
            await here.ask("PATCH", "/api_keys", {"id": made["id"], "consumptionLimit": {"usd": 1}})
            told = loop.time()
            while there.keys.recall(token) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            slowest = max(slowest, loop.time() - told)
            assert (await there.keys.authenticate(token)).limits == SpendLimits("EPOCH", 1_000_000_000)
            await here.ask("DELETE", f"/api_keys/{made['id']}")
            told = loop.time()
            while there.keys.recall(token) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            slowest = max(slowest, loop.time() - told)
            assert (await there.ask("GET", "/api_keys", key=made["apiKey"])).status == 401
        assert slowest < 0.1, f"{slowest * 1000:.0f} ms"


async def test_new_limits_are_told_within_their_own_transaction(tmp_path: Path) -> None:
    told: list[tuple[str, SpendLimits | None, int | None]] = []

    def on_limits(connection: Connection, key_id: str, limits: SpendLimits | None) -> None:
        seen = connection.scalar(select(api_keys.c.limit_usd).where(api_keys.c.id == key_id))
        told.append((key_id, limits, seen))
        if limits is not None and limits.usd == 13_000_000_000:
            raise InvalidRequest(message="not thirteen")

    async with open_desk(tmp_path, on_limits=on_limits) as desk:
        made = await desk.make()

        async def change(**change: object) -> int:
            return (await desk.ask("PATCH", "/api_keys", {"id": made["id"], **change})).status

        assert await change(description="other", limitPeriod="MONTH", expiresAt="2026-12-31") == 200
        assert told == [], "without a limit its period is nobody's affair"
        assert await change(consumptionLimit={"usd": 2}) == 200
        assert await change(consumptionLimit={"usd": 2.0}, modelPrivacy="PRIVATE_ONLY") == 200
        assert await change(limitPeriod="LIFETIME") == 200
        assert await change(consumptionLimit={"usd": 13}) == 400
        assert await change(consumptionLimit={"usd": None}) == 200
        assert [(limits, seen) for _, limits, seen in told] == [
            (SpendLimits("MONTH", 2_000_000_000), 2_000_000_000),
            (SpendLimits("LIFETIME", 2_000_000_000), 2_000_000_000),
            (SpendLimits("LIFETIME", 13_000_000_000), 13_000_000_000),
            (None, None),
        ]
        assert {key_id for key_id, _, _ in told} == {made["id"]}


async def test_what_the_ledger_refuses_is_not_changed(tmp_path: Path) -> None:
    def on_limits(connection: Connection, key_id: str, limits: SpendLimits | None) -> None:
        raise InvalidRequest(message="no")

    async with open_desk(tmp_path, on_limits=on_limits) as desk:
        made = await desk.make()
        change = {"id": made["id"], "description": "new", "consumptionLimit": {"usd": 2}}
        assert (await desk.ask("PATCH", "/api_keys", change)).status == 400
        found = await desk.keys.get(made["id"])
        assert (found.description, found.limit_usd) == ("made", None)


async def test_an_account_has_so_many_active_keys_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.MOST_KEYS == 500
    monkeypatch.setattr(module, "MOST_KEYS", 5)
    async with open_desk(tmp_path) as desk:
        body = {"apiKeyType": "INFERENCE", "description": "one of many", "expiresAt": "2026-03-02"}
        answers = await asyncio.gather(*(desk.ask("POST", "/api_keys", body) for _ in range(20)))
        assert sorted(answer.status for answer in answers) == [200] * 4 + [400] * 16
        refused = next(answer for answer in answers if answer.status == 400)
        assert refused.json()["error"] == "An account can have at most 5 active API keys"
        other = await desk.accounts.ensure("other")
        assert await desk.keys.create(other.id, "ADMIN", "has room")
        made = next(answer for answer in answers if answer.status == 200).json()["data"]
        await desk.ask("DELETE", f"/api_keys?id={made['id']}")
        assert (await desk.ask("POST", "/api_keys", body)).status == 200, "a revoked key does not count"
        assert (await desk.ask("POST", "/api_keys", body)).status == 400
        desk.clock.passed = 86_400
        assert (await desk.ask("POST", "/api_keys", {**body, "expiresAt": ""})).status == 200
        stored = select(func.count()).select_from(api_keys)
        assert await desk.database.read(lambda connection: connection.scalar(stored)) == 8


async def test_a_suspended_account_is_told_so_and_a_revoked_key_is_not(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        made, ended = await desk.make(apiKeyType="ADMIN"), await desk.make(apiKeyType="ADMIN")
        await desk.ask("DELETE", f"/api_keys?id={ended['id']}")
        await desk.accounts.suspend(desk.account)
        for _ in range(2):
            answer = await desk.ask("GET", "/api_keys", key=made["apiKey"])
            assert (answer.status, answer.json()) == (
                403,
                {
                    "error": "API access has been disabled for this account. Please contact support@venice.ai",
                    "code": "API_ACCESS_DISABLED",
                },
            )
            assert (await desk.ask("GET", "/api_keys", key=ended["apiKey"])).status == 401
        await desk.accounts.resume(desk.account)
        assert (await desk.ask("GET", "/api_keys", key=made["apiKey"])).status == 200

"""Two gateways on one data directory."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fondaco import errors
from fondaco.engines.supervisor import Lease
from fondaco.engines.weights import Progress
from local_engines import SMALL, OneFile, ask, cached_tokens, fetched_smollm, model_of, supervising, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PROMPT = "The quick brown fox jumps over the lazy dog. " * 8


@pytest.fixture
async def weight() -> Path:
    return await fetched_smollm()


async def test_they_use_the_same_child_and_one_table_of_slots(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    async with supervising(tmp_path, weight) as holder, supervising(tmp_path, weight) as tenant:
        async with holder.lease(model, "a", 500) as first, tenant.lease(model, "b", 500) as second:
            assert first.target == second.target
            assert first.slot != second.slot
            assert (await ask(first, PROMPT))["status"] == 200
        async with tenant.lease(model, "a", 500) as again:
            assert again.cache_prompt
            assert cached_tokens(await ask(again, PROMPT)) > 50
            assert again.context_tokens == 4096
        await until(lambda: tenant.state(model) == "ready" and tenant.context_of(model) == 4096)


@pytest.mark.long
async def test_a_tenant_waits_its_turn_and_gives_back_what_it_held(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    settings = SMALL.model_copy(update={"slots": 1})
    async with supervising(tmp_path, weight, settings) as holder, supervising(tmp_path, weight) as tenant:
        let_in: list[str] = []

        async def use(name: str) -> None:
            async with tenant.lease(model, name, 10):
                let_in.append(name)
                await asyncio.sleep(0.05)

        async with holder.lease(model, "a", 10):
            leaver = asyncio.create_task(use("leaver"))
            await asyncio.sleep(0.2)
            stayer = asyncio.create_task(use("stayer"))
            await asyncio.sleep(0.2)
            leaver.cancel()
            await asyncio.wait((leaver,))
            assert let_in == []
        await asyncio.wait_for(stayer, 5)
        assert let_in == ["stayer"]
        async with asyncio.timeout(5), holder.lease(model, "a", 10):
            pass


async def test_a_tenant_hears_the_holders_refusals(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    store = OneFile(weight, Progress("smol", done=1, total=4, rate=1, eta=75.0, source="hub"))
    async with supervising(tmp_path, weight, weights=store), supervising(tmp_path, weight) as tenant:
        with pytest.raises(errors.ModelLoading) as loading:
            async with tenant.lease(model, "a", 10):
                pytest.fail("the weights are not here")
        assert "25 %" in loading.value.message
        assert loading.value.retry_after == 75
        with pytest.raises(errors.InvalidRequest) as refused:
            async with tenant.lease(model, "a", 10, choices=50):
                pytest.fail("so many slots there are not")
        assert refused.value.issues[0].path == ("n",)


@pytest.mark.long
async def test_a_tenant_takes_over_when_the_holder_goes(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    async with (
        supervising(tmp_path, weight) as holder,
        supervising(tmp_path, weight) as tenant,
        supervising(tmp_path, weight) as third,
    ):
        async with tenant.lease(model, "a", 10) as lease:
            before = lease.target
        await holder.close()
        leases: list[Lease] = []
        for gateway in (tenant, third):
            async with gateway.lease(model, "a", 10) as lease:
                assert (await ask(lease))["status"] == 200
                leases.append(lease)
        assert leases[0].target == leases[1].target != before


@pytest.mark.long
async def test_a_tenants_preload_makes_the_holder_load(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    async with supervising(tmp_path, weight) as holder, supervising(tmp_path, weight) as tenant:
        await asyncio.wait_for(tenant.preload(model), 60)
        assert holder.state(model) == "ready"


@pytest.mark.long
async def test_a_broken_engine_reported_by_a_tenant_is_looked_at(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    async with supervising(tmp_path, weight) as holder, supervising(tmp_path, weight) as tenant:
        async with tenant.lease(model, "a", 10) as lease:
            os.unlink(lease.target.socket or "")  # noqa: PTH108  it runs, but nobody can reach it any more
            before = lease.target
            lease.fail()
            await until(lambda: holder.state(model) != "ready")
        async with tenant.lease(model, "a", 10) as lease:
            assert lease.target != before
            assert (await ask(lease))["status"] == 200

"""A real llama.cpp under its supervisor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import psutil
import pytest

from fondaco import errors
from fondaco.engines.memory import MIB, footprint
from fondaco.engines.supervisor import Lease, LocalModel, Supervisor
from fondaco.engines.weights import Progress
from local_engines import (
    SMALL,
    MovedClock,
    OneFile,
    ask,
    cached_tokens,
    fetched_smollm,
    model_of,
    send,
    supervising,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PROMPT = "The quick brown fox jumps over the lazy dog. " * 8


@pytest.fixture
async def weight() -> Path:
    return await fetched_smollm()


@pytest.fixture
async def supervisor(tmp_path: Path, weight: Path) -> AsyncGenerator[Supervisor]:
    async with supervising(tmp_path, weight) as supervisor:
        yield supervisor


@pytest.fixture
def model(weight: Path) -> LocalModel:
    return model_of(weight)


def child_of(lease: Lease) -> psutil.Process:
    """The process that serves it, found among our own children."""
    for child in psutil.Process().children():
        if "fondaco.engines.llama" in child.cmdline():
            return child
    raise AssertionError("there is no child")


def open_to_others(path: Path) -> int:
    return path.stat().st_mode & 0o077


async def test_a_child_is_started_on_first_use_and_answers(supervisor: Supervisor, model: LocalModel) -> None:
    assert supervisor.state(model) == "stopped"
    assert supervisor.context_of(model) is None
    async with supervisor.lease(model, "a", 100) as lease:
        answer = await ask(lease)
    assert answer["status"] == 200
    assert answer["choices"][0]["message"]["content"]
    assert lease.context_tokens == supervisor.context_of(model) == 4096
    assert supervisor.state(model) == "ready"


async def test_only_the_gateway_can_speak_to_it(supervisor: Supervisor, model: LocalModel) -> None:
    async with supervisor.lease(model, "a", 100) as lease:
        assert (await ask(lease, keyed=False))["status"] == 401
        for path in ("/v1/models", "/props", "/slots", "/tokenize", "/metrics"):
            status, _, _ = await send(lease, "GET", path, keyed=False)
            assert status == 401, path
        socket = Path(lease.target.socket or "")
        assert open_to_others(socket) == open_to_others(socket.parent) == 0
        assert "Bearer" not in repr(lease.target)


async def test_no_web_page_can_read_its_answers_and_no_listing_is_served(
    supervisor: Supervisor, model: LocalModel
) -> None:
    evil = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    async with supervisor.lease(model, "a", 100) as lease:
        for method, path in (("GET", "/health"), ("OPTIONS", "/v1/chat/completions"), ("GET", "/v1/models")):
            _, headers, _ = await send(lease, method, path, headers=evil)
            assert headers.get("Access-Control-Allow-Origin", "") == ""
            assert headers.get("Access-Control-Allow-Credentials", "false") == "false"
        for path in ("/slots", "/metrics", "/"):
            status, _, _ = await send(lease, "GET", path)
            assert status in (404, 501), path


@pytest.mark.long
async def test_a_prompts_cache_serves_its_own_account_and_no_other(
    supervisor: Supervisor, model: LocalModel
) -> None:
    async def cached(account: str) -> int:
        async with supervisor.lease(model, account, 500) as lease:
            return cached_tokens(await ask(lease, PROMPT))

    assert await cached("a") == 0
    assert await cached("a") > 50
    assert [await cached(other) for other in "bcde"] == [0, 0, 0, 0]
    assert await cached("a") == 0, "its slot has been another's since"
    assert await cached("a") > 50


@pytest.mark.long
async def test_a_slot_asked_not_to_build_on_its_prompt_does_not(
    supervisor: Supervisor, model: LocalModel
) -> None:
    async with supervisor.lease(model, "a", 500) as lease:
        await ask(lease, PROMPT, id_slot=2, cache_prompt=True)
        assert cached_tokens(await ask(lease, PROMPT, id_slot=2, cache_prompt=True)) > 50, (
            "id_slot is honoured"
        )
        assert cached_tokens(await ask(lease, PROMPT, id_slot=3, cache_prompt=True)) == 0, (
            "slots do not share"
        )
        assert cached_tokens(await ask(lease, PROMPT, id_slot=2, cache_prompt=False)) == 0
        # A request that names neither builds on nothing.
        _, _, answer = await send(
            lease,
            "POST",
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1},
        )
        assert cached_tokens(answer) == 0


@pytest.mark.long
async def test_further_choices_leave_nothing_that_others_could_build_on(
    supervisor: Supervisor, model: LocalModel
) -> None:
    async with supervisor.lease(model, "a", 1000, choices=3) as lease:
        answer = await ask(lease, PROMPT, n=3)
    assert len(answer["choices"]) == 3
    async with supervisor.lease(model, "b", 500) as lease:
        assert not lease.cache_prompt
        others = [slot for slot in range(SMALL.slots) if slot != 0]
        assert [
            cached_tokens(await ask(lease, PROMPT, id_slot=slot, cache_prompt=True)) for slot in others
        ] == [0] * 3


async def test_more_choices_than_slots_are_refused_at_their_field(
    supervisor: Supervisor, model: LocalModel
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        async with supervisor.lease(model, "a", 10, choices=5):
            pytest.fail("it was let in")
    assert refused.value.issues[0].path == ("n",)


@pytest.mark.long
async def test_an_engine_that_nobody_uses_is_unloaded_and_comes_back(
    tmp_path: Path, weight: Path, model: LocalModel
) -> None:
    clock = MovedClock()
    async with supervising(tmp_path, weight, clock=clock) as supervisor:
        async with supervisor.lease(model, "a", 100) as lease:
            child = child_of(lease)
            clock.ahead += SMALL.idle_seconds + 1
            await asyncio.sleep(1.5)
            assert child.is_running(), "it is in use"
        await asyncio.sleep(1.5)
        assert child.is_running(), "it was in use just now"
        clock.ahead += SMALL.idle_seconds + 1
        await until(lambda: supervisor.state(model) == "stopped")
        await until(lambda: not child.is_running())
        async with supervisor.lease(model, "a", 100) as lease:
            assert (await ask(lease))["status"] == 200


@pytest.mark.long
async def test_short_memory_ends_the_engine_idle_for_longest(
    tmp_path: Path, weight: Path, model: LocalModel
) -> None:
    need = footprint(weight, None, SMALL.context_tokens)
    free = [10 * need]
    other, third = model_of(weight, "other"), model_of(weight, "third")
    async with supervising(tmp_path, weight, available=lambda: free[0]) as supervisor:
        for each in (model, other):
            async with supervisor.lease(each, "a", 10):
                pass
        free[0] = need - MIB
        async with supervisor.lease(other, "a", 10):
            with pytest.raises(errors.ModelAtCapacity) as refused:
                async with supervisor.lease(third, "a", 10):
                    pytest.fail("there was no room")
            assert f"{free[0] // MIB} MiB are free" in refused.value.message
            assert supervisor.state(model) == "stopped", "idle, therefore evicted"
            assert supervisor.state(other) == "ready", "in use, therefore not"
        free[0] = need
        async with supervisor.lease(third, "a", 10) as lease:
            assert (await ask(lease))["status"] == 200


async def test_idle_engines_go_when_memory_becomes_short(
    tmp_path: Path, weight: Path, model: LocalModel
) -> None:
    settings = SMALL.model_copy(update={"memory_reserve_mib": 100})
    free = [100_000 * MIB]
    async with supervising(tmp_path, weight, settings, available=lambda: free[0]) as supervisor:
        await supervisor.preload(model)
        free[0] = 99 * MIB
        await until(lambda: supervisor.state(model) == "stopped")


@pytest.mark.long
async def test_weights_far_away_are_a_refusal_that_says_how_far(tmp_path: Path, weight: Path) -> None:
    progress = Progress("smol", done=25_000_000, total=100_000_000, rate=1e6, eta=75.0, source="hub")
    store = OneFile(weight, progress)
    model = model_of(weight)
    async with supervising(tmp_path, weight, weights=store) as supervisor:
        assert supervisor.state(model) == "absent"
        async with asyncio.timeout(1):
            with pytest.raises(errors.ModelLoading) as refused:
                async with supervisor.lease(model, "a", 10):
                    pytest.fail("they are not here")
        assert "25 %" in refused.value.message
        assert "25,000,000 of 100,000,000 bytes" in refused.value.message
        assert refused.value.retry_after == 75
        assert supervisor.state(model) == "fetching"
        store.here.set()
        async with supervisor.lease(model, "a", 10) as lease:
            assert (await ask(lease))["status"] == 200


async def test_weights_nearly_here_are_waited_for(tmp_path: Path, weight: Path) -> None:
    store = OneFile(weight, Progress("smol", done=9, total=10, rate=1, eta=1.0, source="hub"))
    async with supervising(tmp_path, weight, weights=store) as supervisor:
        asyncio.get_running_loop().call_later(0.5, store.here.set)
        async with supervisor.lease(model_of(weight), "a", 10) as lease:
            assert (await ask(lease))["status"] == 200


async def test_a_preload_waits_for_weights_however_long(tmp_path: Path, weight: Path) -> None:
    store = OneFile(weight, Progress("smol", done=0, total=10, rate=1, eta=9e9, source="hub"))
    async with supervising(tmp_path, weight, weights=store) as supervisor:
        loading = asyncio.create_task(supervisor.preload(model_of(weight)))
        await asyncio.sleep(0.3)
        assert not loading.done()
        store.here.set()
        await asyncio.wait_for(loading, 30)
        assert supervisor.state(model_of(weight)) == "ready"


@pytest.mark.long
async def test_a_folder_too_deep_for_sockets_works_all_the_same(tmp_path: Path, weight: Path) -> None:
    deep = tmp_path / ("d" * 100)
    async with supervising(deep, weight) as supervisor, supervisor.lease(model_of(weight), "a", 10) as lease:
        assert (await ask(lease))["status"] == 200
        folder = Path(lease.target.socket or "").parent
    assert not folder.exists()


async def test_closing_leaves_no_process_and_no_socket(
    tmp_path: Path, weight: Path, model: LocalModel
) -> None:
    async with supervising(tmp_path, weight) as supervisor, supervisor.lease(model, "a", 10) as lease:
        child = child_of(lease)
    assert not psutil.pid_exists(child.pid)
    assert os.listdir(tmp_path) == ["lock"]  # noqa: PTH208
    with pytest.raises(errors.ModelOffline):
        async with supervisor.lease(model, "a", 10):
            pytest.fail("it is closed")

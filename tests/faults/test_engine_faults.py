"""Engines that die, hang, never come up or say too much; and gateways that are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import aiohttp
import psutil
import pytest
import structlog

from fondaco import errors
from fondaco.engines import engine as engine_module
from local_engines import (
    SMALL,
    MovedClock,
    ask,
    fetched_smollm,
    model_of,
    stand_in,
    supervising,
    until,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

GATEWAY = """
import asyncio, sys
from pathlib import Path
import structlog
from local_engines import SMALL, OneFile, model_of
from fondaco.engines.supervisor import Supervisor

async def main():
    file = Path(sys.argv[1])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    log = structlog.get_logger()
    supervisor = Supervisor(SMALL, Path(sys.argv[2]), OneFile(file), wait_seconds=5, log=log)
    await supervisor.start()
    if sys.argv[3] == "loading":
        asyncio.create_task(supervisor.preload(model_of(file)))
        while supervisor.state(model_of(file)) != "starting":
            await asyncio.sleep(0.01)
    else:
        await supervisor.preload(model_of(file))
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
async def weight() -> Path:
    return await fetched_smollm()


def children(of: int | None = None) -> list[psutil.Process]:
    """Engines of a process; gateways that other tests have started are its children too."""
    found = psutil.Process(of).children()
    return [child for child in found if "fondaco.engines.llama" in child.cmdline()]


async def started_gateway(run_dir: Path, weight: Path, when: str = "ready") -> asyncio.subprocess.Process:
    """Another process with engines of its own. `when` it says that it is up: `ready` or `loading`."""
    here = Path(__file__).parent.parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent / "src"), *sys.path])}
    gateway = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        GATEWAY,
        str(weight),
        str(run_dir),
        when,
        stdout=asyncio.subprocess.PIPE,
        env=env,
    )
    assert gateway.stdout is not None
    assert await gateway.stdout.readline() == b"up\n"
    return gateway


@pytest.mark.parametrize("when", [pytest.param("ready", marks=pytest.mark.long), "loading"])
async def test_a_child_ends_within_two_seconds_of_its_killed_gateway(
    tmp_path: Path, weight: Path, when: str
) -> None:
    gateway = await started_gateway(tmp_path, weight, when)
    await until(lambda: bool(children(gateway.pid)))
    (child,) = children(gateway.pid)
    gateway.kill()
    killed = time.monotonic()
    await gateway.wait()
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert time.monotonic() - killed < 2
    # And what it leaves behind is no obstacle.
    async with supervising(tmp_path, weight) as next_one, next_one.lease(model_of(weight), "a", 10) as lease:
        assert (await ask(lease))["status"] == 200


@pytest.mark.long
async def test_a_gateway_takes_the_place_of_a_killed_one(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    killed = await started_gateway(tmp_path, weight)
    async with supervising(tmp_path, weight) as supervisor:
        await until(lambda: supervisor.state(model) == "ready")
        async with supervisor.lease(model, "a", 10) as lease:
            assert (await ask(lease))["status"] == 200
            before = lease.target
        killed.kill()
        await killed.wait()
        async with supervisor.lease(model, "a", 10) as lease:
            assert lease.target != before
            assert (await ask(lease))["status"] == 200
        assert any("fondaco.engines.llama" in child.cmdline() for child in children())


@pytest.mark.long
async def test_after_a_killed_child_the_next_lease_works(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    async with supervising(tmp_path, weight) as supervisor:
        async with supervisor.lease(model, "a", 2000) as lease:
            answer = asyncio.create_task(ask(lease, max_tokens=2000, ignore_eos=True))
            await asyncio.sleep(0.5)
            children()[0].kill()
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(answer, 2)
            lease.fail()
            before = lease.target
        async with asyncio.timeout(30), supervisor.lease(model, "a", 10) as lease:
            assert lease.target != before
            assert not lease.cache_prompt
            assert (await ask(lease))["status"] == 200


@pytest.mark.long
async def test_those_who_wait_when_the_engine_dies_are_served_by_the_next(
    tmp_path: Path, weight: Path
) -> None:
    model = model_of(weight)
    settings = SMALL.model_copy(update={"slots": 1})

    async with supervising(tmp_path, weight, settings) as supervisor:

        async def use() -> int:
            async with supervisor.lease(model, "b", 10) as lease:
                return (await ask(lease))["status"]

        async with supervisor.lease(model, "a", 10):
            waiters = [asyncio.create_task(use()) for _ in range(3)]
            await asyncio.sleep(0.2)
            children()[0].kill()
            assert await asyncio.wait_for(asyncio.gather(*waiters), 60) == [200, 200, 200]


@pytest.mark.long
async def test_a_frozen_engine_that_failed_a_request_is_replaced(
    tmp_path: Path, weight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CHECK_SECONDS", 0.3)
    model = model_of(weight)
    async with supervising(tmp_path, weight) as supervisor:
        async with supervisor.lease(model, "a", 10) as lease:
            children()[0].send_signal(signal.SIGSTOP)
            lease.fail()
        async with asyncio.timeout(30), supervisor.lease(model, "a", 10) as lease:
            assert (await ask(lease))["status"] == 200


@pytest.mark.long
async def test_a_frozen_idle_engine_is_noticed_and_replaced_on_next_use(
    tmp_path: Path, weight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CHECK_SECONDS", 0.3)
    clock, model = MovedClock(), model_of(weight)
    async with supervising(tmp_path, weight, clock=clock) as supervisor:
        await supervisor.preload(model)
        children()[0].send_signal(signal.SIGSTOP)
        clock.ahead += 11
        await until(lambda: supervisor.state(model) != "ready")
        async with supervisor.lease(model, "a", 10) as lease:
            assert (await ask(lease))["status"] == 200


async def test_a_reported_engine_that_is_well_stays(tmp_path: Path, weight: Path) -> None:
    model = model_of(weight)
    async with supervising(tmp_path, weight) as supervisor:
        async with supervisor.lease(model, "a", 10) as lease:
            lease.fail()
            before = lease.target
        async with supervisor.lease(model, "a", 10) as lease:
            assert lease.target == before


async def test_an_engine_that_hangs_at_start_is_given_up(tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"start_seconds": 0.5})
    file = tmp_path / "m.gguf"
    file.touch()
    command = stand_in("import time; time.sleep(60)")
    async with supervising(tmp_path / "run", file, settings, command=command) as supervisor:
        before = time.monotonic()
        with pytest.raises(errors.ModelOffline, match="MODEL_OFFLINE") as refused:
            async with supervisor.lease(model_of(file), "a", 10):
                pytest.fail("it never came up")
        assert time.monotonic() - before < 3
        assert "engines.start_seconds" in refused.value.message
        assert children() == []


async def test_an_engine_that_cannot_start_is_left_alone_ever_longer(tmp_path: Path) -> None:
    file, clock = tmp_path / "m.gguf", MovedClock()
    file.touch()
    tries = tmp_path / "tries"
    command = stand_in(f"open({str(tries)!r}, 'a').write('x'); raise SystemExit(9)")
    model = model_of(file)

    async with supervising(tmp_path / "run", file, command=command, clock=clock) as supervisor:

        async def refusal() -> errors.ModelOffline:
            with pytest.raises(errors.ModelOffline) as refused:
                async with supervisor.lease(model, "a", 10):
                    pytest.fail("it never came up")
            return refused.value

        waits: list[int | None] = []
        for _ in range(5):
            waits.append((await refusal()).retry_after)
            clock.ahead += waits[-1] or 0
        assert waits == [1, 1, 2, 4, 8]
        assert tries.read_text() == "xxxxx"
        await refusal()
        assert supervisor.state(model) == "backing_off"
        assert (await refusal()).retry_after == 16
        assert tries.read_text() == "xxxxxx", "not tried again while backing off"


async def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"<html>not found</html>" * 100)
    async with supervising(tmp_path / "run", file) as supervisor:
        with pytest.raises(errors.ModelOffline) as refused:
            async with supervisor.lease(model_of(file), "a", 10):
                pytest.fail("it never came up")
    assert "could not be read" in refused.value.message
    assert str(tmp_path) not in refused.value.message


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.touch()
    async with supervising(tmp_path / "run", file, command=("/no/such/program",)) as supervisor:
        with pytest.raises(errors.ModelOffline) as refused:
            async with supervisor.lease(model_of(file), "a", 10):
                pytest.fail("it never came up")
    assert "could not be started" in refused.value.message


async def test_nothing_that_a_child_prints_is_logged_but_the_kind_of_its_failure(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.touch()
    script = """
import sys
print("CANARY on stdout", flush=True)
print("CANARY " * 300000, file=sys.stderr)
print("ggml: failed to allocate buffer for CANARY", file=sys.stderr, flush=True)
sys.exit(1)
"""
    with structlog.testing.capture_logs() as logs:
        async with supervising(tmp_path / "run", file, command=stand_in(script)) as supervisor:
            with pytest.raises(errors.ModelOffline) as refused:
                async with supervisor.lease(model_of(file), "a", 10):
                    pytest.fail("it never came up")
    assert "not enough memory" in refused.value.message
    assert [line["reason"] for line in logs if line["event"] == "engine.not_started"] == ["out_of_memory"]
    assert "CANARY" not in repr(logs) + refused.value.message


async def test_a_queue_too_long_is_refused_at_once(tmp_path: Path, weight: Path) -> None:
    settings = SMALL.model_copy(update={"slots": 1})
    model = model_of(weight)
    async with supervising(tmp_path, weight, settings) as supervisor:

        async def use() -> None:
            async with supervisor.lease(model, "b", 10):
                await asyncio.sleep(600)

        async with supervisor.lease(model, "a", 10):
            queue = [asyncio.create_task(use()) for _ in range(16)]
            await asyncio.sleep(0.1)
            with pytest.raises(errors.ModelAtCapacity):
                async with supervisor.lease(model, "c", 10):
                    pytest.fail("the queue was full")
            for waiter in queue:
                waiter.cancel()
            await asyncio.wait(queue)
        async with asyncio.timeout(5), supervisor.lease(model, "c", 10):
            pass

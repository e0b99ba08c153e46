"""A real small model on this machine for tests, and the means to run and ask it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from fondaco.clock import SystemClock
from fondaco.engines.supervisor import Lease, LocalModel, Supervisor
from fondaco.engines.weights import PathSource, Progress, Weight, WeightStore, pinned
from fondaco.settings import EngineSettings, WeightSettings

SMALL = EngineSettings(context_tokens=4096, threads=2, memory_reserve_mib=0)


class MovedClock(SystemClock):
    """Real time plus what a test has added."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class OneFile:
    """A weight store whose one file is here, or on its way as `progress_is` says until `here` is set."""

    def __init__(self, file: Path, progress_is: Progress | None = None) -> None:
        self.file = file
        self.here = asyncio.Event()
        self.progress_is = progress_is
        if progress_is is None:
            self.here.set()

    def find(self, weight: Weight) -> Path | None:
        return self.file if self.here.is_set() else None

    async def fetch(self, weight: Weight) -> Path:
        await self.here.wait()
        return self.file

    def progress(self, weight: Weight) -> Progress | None:
        return None if self.here.is_set() else self.progress_is


async def fetched_smollm() -> Path:
    """SmolLM2 from this machine's cache, fetched on its first use."""
    store = WeightStore(WeightSettings())
    try:
        return await store.fetch(pinned()["smollm2-135m-instruct-q4_1.gguf"])
    finally:
        await store.close()


def model_of(file: Path, name: str = "smol") -> LocalModel:
    return LocalModel(name, Weight(file.name, None, None, "Apache-2.0", (PathSource(str(file)),)))


@asynccontextmanager
async def supervising(
    run_dir: Path, file: Path, settings: EngineSettings = SMALL, **given: Any
) -> AsyncGenerator[Supervisor]:
    given.setdefault("wait_seconds", 20.0)
    given.setdefault("log", structlog.get_logger())
    supervisor = Supervisor(settings, run_dir, given.pop("weights", None) or OneFile(file), **given)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.close()


async def ask(lease: Lease, text: str = "Say hi.", *, keyed: bool = True, **fields: Any) -> dict[str, Any]:
    """One chat completion. The answer with its `status`."""
    status, _, answer = await send(
        lease,
        "POST",
        "/v1/chat/completions",
        keyed=keyed,
        json={
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 4,
            "temperature": 0,
            "id_slot": lease.slot,
            "cache_prompt": lease.cache_prompt,
            **fields,
        },
    )
    return {"status": status, **answer}


async def send(
    lease: Lease, method: str, path: str, *, keyed: bool = True, **given: Any
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and JSON of a request to the lease's engine."""
    headers = {name.decode(): value.decode() for name, value in lease.target.headers} if keyed else {}
    headers |= given.pop("headers", {})
    connector = aiohttp.UnixConnector(lease.target.socket or "")
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(method, f"http://engine{path}", headers=headers, **given) as answer,
    ):
        body = await answer.json(content_type=None) if answer.content_length else {}
        return answer.status, dict(answer.headers), body


def cached_tokens(answer: dict[str, Any]) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


def stand_in(script: str) -> tuple[str, ...]:
    """A child that runs `script` instead of an engine."""
    return (sys.executable, "-c", script)


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Fails the test when `condition` does not come true in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        if loop.time() > deadline:
            pytest.fail(f"did not come true within {seconds} s")
        await asyncio.sleep(0.02)

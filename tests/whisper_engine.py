"""The real transcription engine for tests: its weights, fetched on first use, and its app in a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from fondaco.engines.child import Child
from fondaco.engines.kinds import KINDS
from fondaco.engines.launch import Launch
from fondaco.engines.weights import WeightStore, pinned
from fondaco.media.multipart import File, write_form
from fondaco.settings import WeightSettings

FILES = {
    "model": "whisper-base-model.bin",
    "config.json": "whisper-base-config.json",
    "tokenizer.json": "whisper-base-tokenizer.json",
    "vocabulary.txt": "whisper-base-vocabulary.txt",
}
PATH = "/v1/audio/transcriptions"


@cache
def weight(role: str) -> Path:
    """A file of the engine, from this machine's cache or fetched."""

    async def fetched() -> Path:
        store = WeightStore(WeightSettings())
        try:
            return await store.fetch(pinned()[FILES[role]])
        finally:
            await store.close()

    # In a thread, as who asks may be in a loop.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(fetched())).result()


def launch(**given: Any) -> Launch:
    files = {role: str(weight(role)) for role in FILES if role != "model"}
    return Launch(model=str(weight("model")), files=files, name="whisper-base", threads=2, **given)


def form(
    data: bytes | None, fields: Sequence[tuple[str, str]] = (), name: str = "a.bin"
) -> tuple[bytes, bytes]:
    """Content type and body of a request."""
    return write_form(fields, [] if data is None else [("file", File(memoryview(data), name))])


class WhisperEngine:
    def __init__(self, child: Child) -> None:
        self.child = child
        self.process = psutil.Process(child.pid)
        target = child.target
        self._session = aiohttp.ClientSession(
            "http://engine",
            connector=aiohttp.UnixConnector(target.socket or "", limit=0),
            headers={name.decode(): value.decode() for name, value in target.headers},
        )

    @asynccontextmanager
    async def begun(
        self, data: bytes | None, *fields: tuple[str, str]
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """An answer of which the head has come; it is left with the context."""
        kind, body = form(data, fields)
        headers = {"content-type": kind.decode()}
        async with self._session.post(PATH, data=BytesIO(body), headers=headers) as answer:
            yield answer
            answer.close()

    async def ask(self, data: bytes | None, *fields: tuple[str, str]) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        kind, body = form(data, fields)
        async with self._session.post(
            PATH, data=BytesIO(body), headers={"content-type": kind.decode()}
        ) as answer:
            return answer.status, answer.headers["content-type"], await answer.read()

    async def refused(self, data: bytes | None, *fields: tuple[str, str]) -> tuple[int, str, str | None, str]:
        """Status, code, field and sentence."""
        status, _, body = await self.ask(data, *fields)
        error = json.loads(body)["error"]
        return status, error["code"], error["param"], error["message"]

    async def told(self, data: bytes, *fields: tuple[str, str]) -> dict[str, Any]:
        status, _, body = await self.ask(data, *fields)
        assert status == 200, body[:500]
        return json.loads(body)

    @property
    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    async def close(self) -> None:
        await self._session.close()


@asynccontextmanager
async def running(given: Launch) -> AsyncGenerator[WhisperEngine]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        given = Launch(**{**_fields(given), "socket": f"{folder}/e.sock", "key": "k3y"})
        child = await Child.spawn(given, KINDS["transcription"].command)
        try:
            await child.ready(120)
            engine = WhisperEngine(child)
            try:
                yield engine
            finally:
                await engine.close()
        finally:
            await child.stop()


def _fields(given: Launch) -> dict[str, Any]:
    return {name: getattr(given, name) for name in given.__struct_fields__}


def events(body: bytes) -> list[dict[str, Any]]:
    """What a stream told."""
    return [json.loads(line.removeprefix(b"data: ")) for line in body.split(b"\n\n") if line]


def bare(text: str) -> str:
    """A text without punctuation and capitals."""
    return " ".join(re.findall(r"[\w$']+", text.lower()))

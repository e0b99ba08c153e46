"""The real speech engine for tests: its weights, fetched on first use, and its app in a process of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import av
import numpy as np
from numpy.typing import NDArray

from fondaco.engines.child import Child
from fondaco.engines.kinds import KINDS
from fondaco.engines.launch import Launch
from fondaco.engines.weights import WeightStore, pinned
from fondaco.settings import WeightSettings

FILES = {
    "model": "kokoro-v1.0.int8.onnx",
    "voices": "kokoro-v1.0-voices.bin",
    "words": "english-words.json",
    "letters": "english-letters.npz",
}

Waveform = NDArray[np.float32]


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
    return Launch(model=str(weight("model")), files=files, name="tts-kokoro", threads=2, **given)


class SpeechEngine:
    def __init__(self, child: Child) -> None:
        self.child = child
        target = child.target
        self._session = aiohttp.ClientSession(
            f"http://{target.host}:{target.port}",
            headers={name.decode(): value.decode() for name, value in target.headers},
        )

    async def ask(self, **body: Any) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a request for speech."""
        async with self._session.post("/v1/audio/speech", json=body) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()

    async def refused(self, **body: Any) -> tuple[int, str, str]:
        """Status, field and sentence of a refusal."""
        status, _, raw = await self.ask(**body)
        error = json.loads(raw)["error"]
        return status, error["param"], error["message"]

    async def said(self, **body: Any) -> Waveform:
        status, _, raw = await self.ask(**{"response_format": "wav", **body})
        assert status == 200, raw[:500]
        return decoded(raw, body.get("response_format", "wav"))

    @asynccontextmanager
    async def begun(self, **body: Any) -> AsyncGenerator[aiohttp.ClientResponse]:
        """An answer of which the head has come; it is left with the context."""
        async with self._session.post("/v1/audio/speech", json=body) as answer:
            yield answer
            answer.close()

    async def row(self) -> dict[str, Any]:
        async with self._session.get("/v1/models") as answer:
            return (await answer.json())["data"][0]

    async def close(self) -> None:
        await self._session.close()


@asynccontextmanager
async def speaking() -> AsyncGenerator[SpeechEngine]:
    """The engine, started as the supervisor starts it."""
    child = await Child.spawn(launch(key="k3y"), KINDS["speech"].command)
    try:
        await child.ready(120)
        engine = SpeechEngine(child)
        try:
            yield engine
        finally:
            await engine.close()
    finally:
        await child.stop()


def decoded(file: bytes, form: str, rate: int = 24_000) -> Waveform:
    """What a file sounds like, mono at `rate`."""
    if form == "pcm":
        return np.frombuffer(file, "<i2").astype(np.float32) / 32768
    with av.open(BytesIO(file)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])


def tone(hertz: float, seconds: float, rate: int = 24_000) -> Waveform:
    at = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def dominant(waveform: Waveform, rate: int = 24_000) -> float:
    """The loudest frequency, in hertz."""
    return float(np.abs(np.fft.rfft(waveform)).argmax() * rate / waveform.size)

"""Real engines for speech, transcription and embeddings that are killed at their work, outlive it, or have none."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
import psutil
import pytest

from audio_files import SPOKEN, encoded, tone, wav
from gateways import ADMIN_KEY, TINY, Gateway, running
from raw_http import Answer, Wire
from served_app import Client, faults, form

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(600)]

SPEECH, TRANSCRIPTIONS, EMBEDDINGS = "/audio/speech", "/audio/transcriptions", "/embeddings"
MODULES = {
    SPEECH: "fondaco.engines.speech",
    TRANSCRIPTIONS: "fondaco.engines.transcription",
    EMBEDDINGS: "fondaco.engines.embeddings",
}
UNLIMITED = "[limits]\nscale = 0\n"

EACH = pytest.mark.parametrize("path", MODULES)

SENTENCES = "The ships of the house came in from the east. " * 80
"""More than four minutes of speech."""


def short(path: str) -> Any:
    if path == TRANSCRIPTIONS:
        return form(wav(tone(1).tobytes()))
    return {"model": "all-minilm-l6-v2" if path == EMBEDDINGS else "tts-kokoro", "input": "Hi."}


def long(path: str) -> Any:
    """What takes an engine far longer than these tests wait."""
    match path:
        case "/audio/speech":
            return {"model": "tts-kokoro", "input": SENTENCES}
        case "/embeddings":
            return {"model": "all-minilm-l6-v2", "input": ["and so on " * 200] * 2048}
        case _:
            return form(long_recording(), ("language", "en"))


def long_recording() -> bytes:
    with av.open(str(SPOKEN)) as file:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        frames = [made for frame in file.decode(audio=0) for made in resampler.resample(frame)]
    spoken = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames])
    return encoded("flac", np.tile(spoken, 30))


def engines(gateway: Gateway) -> dict[str, psutil.Process]:
    """Those that run, by the path that they serve."""
    children = psutil.Process(gateway.process.pid).children()
    by_module = {word: child for child in children for word in child.cmdline()}
    return {path: by_module[module] for path, module in MODULES.items() if module in by_module}


class Asked:
    """A gateway and its client."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.client = Client(urlsplit(gateway.root).port or 0)

    async def begin(self, path: str, body: Any) -> Wire:
        """A request that was sent."""
        wire = await self.client.connect()
        await wire.send(self.client.request("POST", path, body, ADMIN_KEY, "connection: close"))
        return wire

    async def ask(self, path: str, body: Any) -> Answer:
        return await ended(await self.begin(path, body))


async def ended(wire: Wire) -> Answer:
    """The answer, however long it takes."""
    async with asyncio.timeout(300):
        raw = await wire.reader.read()
    wire.leave()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, body)


async def until(holds: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def busy(engine: psutil.Process) -> None:
    """Until it has worked for half a second."""
    before = sum(engine.cpu_times()[:2])
    await until(lambda: sum(engine.cpu_times()[:2]) > before + 0.5, 60)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncGenerator[Asked]:
    with running(tmp_path, "--model", TINY, config=UNLIMITED) as gateway:
        made = Asked(gateway)
        yield made
        made.client.close()
        gateway.stop()
        assert await faults(gateway.data_dir) == []


@EACH
async def test_a_request_whose_engine_is_killed_fails_for_nothing_and_the_next_works(
    asked: Asked, path: str
) -> None:
    assert (await asked.ask(path, short(path))).status == 200
    await asked.client.settled(1)
    killed = engines(asked.gateway)[path]
    wire = await asked.begin(path, long(path))
    await busy(killed)
    killed.kill()
    answer = await ended(wire)
    told = answer.json()
    assert (answer.status, told["code"]) in {
        (500, "INFERENCE_FAILED"),
        (502, "UPSTREAM_FAILED"),
        (502, "ASR_UPSTREAM_FAILED"),
        (503, "MODEL_OFFLINE"),
    }
    again = await asked.ask(path, short(path))
    assert again.status == 200, again.body
    assert engines(asked.gateway)[path].pid != killed.pid
    # Both that were answered are paid, and no other.
    await asked.client.settled(2)


@pytest.mark.parametrize("events", [False, True], ids=["file", "events"])
async def test_speech_whose_engine_is_killed_is_cut_and_costs_nothing(asked: Asked, events: bool) -> None:
    assert (await asked.ask(SPEECH, short(SPEECH))).status == 200
    await asked.client.settled(1)
    body = {**long(SPEECH), **({"stream_format": "sse"} if events else {"streaming": True})}
    wire = await asked.begin(SPEECH, body)
    async with asyncio.timeout(60):
        assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await wire.reader.readexactly(2000)
    engines(asked.gateway)[SPEECH].kill()
    async with asyncio.timeout(10):
        rest = await wire.reader.read()
    if events:
        assert b'"error"' in rest
        assert b"speech.audio.done" not in rest
    else:
        assert not rest.endswith(b"0\r\n\r\n"), "it is not ended as a whole file would be"
    assert (await asked.ask(SPEECH, short(SPEECH))).status == 200
    await asked.client.settled(2)


@EACH
async def test_a_client_that_leaves_stops_its_engine_and_pays_what_was_made(asked: Asked, path: str) -> None:
    assert (await asked.ask(path, short(path))).status == 200
    await asked.client.forget()
    engine = engines(asked.gateway)[path]
    wire = await asked.begin(path, long(path))
    await busy(engine)
    wire.leave()
    # A sentence, a window or a batch is ended, and then it rests.
    async with asyncio.timeout(60):
        while True:
            before = sum(engine.cpu_times()[:2])
            await asyncio.sleep(1)
            if sum(engine.cpu_times()[:2]) - before < 0.1:
                break
    assert not is_gone(engine)
    rows = await asked.client.entries()
    assert len(rows) <= 1
    whole = {SPEECH: len(SENTENCES) / 1e6, TRANSCRIPTIONS: 18.3 * 30, EMBEDDINGS: 2048 * 600 / 1e6}[path]
    assert all(row["units"] < whole / 2 for row in rows)
    assert (await asked.ask(path, short(path))).status == 200


async def test_the_engines_of_a_killed_gateway_are_gone_within_two_seconds(tmp_path: Path) -> None:
    with running(tmp_path, "--model", TINY, config=UNLIMITED) as gateway:
        asked = Asked(gateway)
        for path in MODULES:
            assert (await asked.ask(path, short(path))).status == 200
        found = engines(gateway)
        assert set(found) == set(MODULES)
        for path, engine in found.items():
            await asked.begin(path, long(path))
            await busy(engine)
        killed = time.monotonic()
        gateway.stop(signal.SIGKILL)
        await until(lambda: all(map(is_gone, found.values())), 2 - (time.monotonic() - killed))
        asked.client.close()
    # And what they left is no obstacle to the next.
    with running(tmp_path, "--model", TINY) as gateway:
        asked = Asked(gateway)
        for path in MODULES:
            assert (await asked.ask(path, short(path))).status == 200
        asked.client.close()
    assert await faults(gateway.data_dir) == []


async def test_engines_that_nobody_asks_give_their_memory_back(tmp_path: Path) -> None:
    config = "[engines]\nidle_seconds = 2\n"
    with running(tmp_path, "--model", TINY, config=config) as gateway:
        asked = Asked(gateway)
        for path in MODULES:
            assert (await asked.ask(path, short(path))).status == 200
            engine = engines(gateway)[path]
            assert engine.memory_info().rss > 100_000_000
            await until(lambda engine=engine: is_gone(engine), 10)
        assert engines(gateway) == {}
        # They come back, and are not taken from who is at it.
        wire = await asked.begin(SPEECH, {"model": "tts-kokoro", "input": SENTENCES[:230], "streaming": True})
        answer = await ended(wire)
        assert answer.status == 200
        assert answer.body.endswith(b"0\r\n\r\n")
        asked.client.close()

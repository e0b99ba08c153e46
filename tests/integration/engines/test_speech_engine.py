"""The real Kokoro behind its wire, in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fondaco.engines.kinds import KINDS
from fondaco.engines.speech.encoding import FORMATS
from fondaco.engines.speech.voices import LANGUAGES, VOICES
from speech_engine import SpeechEngine, Waveform, decoded, launch, speaking

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

TEN = (
    "The fondaco stood beside the great canal. Its gates were shut at night. Merchants came from the north with furs. "
    "They paid a tax on every bale. The doge counted what they brought. Clerks wrote it down in heavy books. No lie "
    "stayed hidden there for long. In spring the ships set out again. They carried glass and salt. The house slept "
    "until autumn."
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine() -> AsyncGenerator[SpeechEngine]:
    async with speaking() as one:
        yield one


def seconds(sound: Waveform) -> float:
    return sound.size / 24_000


@pytest.mark.long
async def test_it_speaks_and_refuses_by_the_field(engine: SpeechEngine) -> None:
    """One text spoken for all that needs a sound: speaking is what takes long."""
    status, headers, file = await engine.ask(input="Hello there.", response_format="wav", voice="Alloy")
    assert (status, headers["content-type"]) == (200, "audio/wav")
    assert int(headers["content-length"]) == len(file)
    sound = decoded(file, "wav")
    assert 0.5 < seconds(sound) < 2.5
    assert 0.02 < np.sqrt((sound * sound).mean()) < 0.5

    row = await engine.row()
    assert row["voices"] == list(VOICES)
    assert {"en-us", "en-gb", "ja", "zh"} <= set(row["languages"])

    assert await engine.refused(input="😀 …!") == (400, "input", "Input must contain speakable text")
    assert (await engine.refused(input=""))[:2] == (400, "input")
    status, param, message = await engine.refused(input="x" * 4097)
    assert (status, param) == (400, "input")
    assert "4096" in message
    status, param, message = await engine.refused(input="hi", voice="af_bela")
    assert (status, param) == (400, "voice")
    assert "af_bella" in message
    for wrong in ({"speed": 4.5}, {"speed": "fast"}, {"response_format": "ogg"}, {"language": "xx"}):
        assert (await engine.refused(input="hi", **wrong))[:2] == (400, next(iter(wrong)))
    assert (await engine.refused())[:2] == (400, "input")


@pytest.mark.long
async def test_events_tell_how_far_it_is(engine: SpeechEngine) -> None:
    text = "Yes.\n\nNo."
    status, headers, body = await engine.ask(input=text, stream_format="sse", response_format="pcm")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    *deltas, done = events(body)
    told = [delta["characters"] for delta in deltas]
    assert told == sorted(told)
    assert set(told) == {text.index("No"), len(text)}
    assert all(base64.b64decode(delta["audio"]) for delta in deltas)
    assert (done["type"], done["characters"]) == ("speech.audio.done", len(text))
    assert done["usage"]["input_tokens"] > 5


def events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.removeprefix(b"data: ")) for event in body.split(b"\n\n") if event]


@pytest.mark.long
async def test_every_format_holds_the_same_speech(engine: SpeechEngine) -> None:
    wav = await engine.said(input="One.\n\nTwo.")
    for form, (_, _, media_type, *_) in FORMATS.items():
        streaming = form not in ("wav", "flac")
        status, headers, file = await engine.ask(
            input="One.\n\nTwo.", response_format=form, streaming=streaming
        )
        assert (status, headers["content-type"]) == (200, media_type)
        assert ("content-length" in headers) is not streaming
        assert seconds(decoded(file, form)) == pytest.approx(seconds(wav), abs=0.15)


@pytest.mark.long
async def test_speed_is_what_was_asked_for(engine: SpeechEngine) -> None:
    text = "They kept their books with care."
    usual = seconds(await engine.said(input=text))
    for speed in (0.25, 0.7, 1.5, 4):
        assert usual / seconds(await engine.said(input=text, speed=speed)) == pytest.approx(speed, rel=0.25)


@pytest.mark.long
@pytest.mark.parametrize("prefix", list(LANGUAGES))
async def test_every_language_speaks_or_says_what_to_install(engine: SpeechEngine, prefix: str) -> None:
    text = {
        "a": "Good morning.", "b": "Good morning.", "e": "Buenos días.", "f": "Bonjour.", "h": "नमस्ते दुनिया।",
        "i": "Buongiorno.", "j": "おはようございます。", "p": "Bom dia.", "z": "早上好。",
    }[prefix]  # fmt: skip
    voice = next(voice for voice in VOICES if voice.startswith(prefix))
    if LANGUAGES[prefix] in (await engine.row())["languages"]:
        assert 0.4 < seconds(await engine.said(input=text, voice=voice)) < 4
    else:
        status, param, message = await engine.refused(input=text, voice=voice)
        assert (status, param) == (400, "voice")
        assert "fondaco[" in message


@pytest.mark.long
async def test_the_first_audio_of_ten_sentences_comes_early(engine: SpeechEngine) -> None:
    began = time.monotonic()
    async with engine.begun(input=TEN, response_format="pcm", streaming=True) as answer:
        await answer.content.readany()
        first = time.monotonic() - began
        await answer.read()
    assert first < 0.25 * (time.monotonic() - began)


@pytest.mark.long
async def test_a_short_request_does_not_wait_for_a_long_one(engine: SpeechEngine) -> None:
    began = time.monotonic()
    long = asyncio.create_task(engine.said(input=TEN))
    await asyncio.sleep(0.3)
    await engine.said(input="Me too.")
    short = time.monotonic() - began
    assert not long.done()
    await long
    assert short < 0.6 * (time.monotonic() - began)


@pytest.mark.long
@pytest.mark.parametrize("streaming", [True, False])
async def test_who_leaves_is_not_read_to(engine: SpeechEngine, streaming: bool) -> None:
    """What is spent after leaving is less than the sentence under way and one more can cost, of ten."""
    process = psutil.Process(engine.child.pid)
    start = _cpu(process)
    asked = asyncio.create_task(engine.ask(input=TEN, response_format="pcm", streaming=streaming))
    while _cpu(process) - start < 1:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    asked.cancel()
    left = _cpu(process)
    async with asyncio.timeout(60):
        before = -1.0
        while before != (before := _cpu(process)):  # noqa: ASYNC110
            await asyncio.sleep(1.5)
    assert _cpu(process) - left < 6


def _cpu(process: psutil.Process) -> float:
    return process.cpu_times().user


@pytest.mark.long
async def test_it_says_what_is_wrong_with_its_files(tmp_path: Path) -> None:
    from fondaco.engines.serving import LoadFailed
    from fondaco.engines.speech.app import create

    good = launch()
    for role in ("voices", "words", "letters"):
        bad = tmp_path / role
        bad.write_bytes(b"not it")
        wrong = launch()
        wrong.files[role] = str(bad)
        with pytest.raises(LoadFailed):
            create(wrong)
    assert good.files["voices"] != str(tmp_path / "voices")
    assert not KINDS["speech"].missing

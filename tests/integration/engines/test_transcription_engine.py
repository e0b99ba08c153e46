"""The transcription engine in its own process, with the real default model, over its socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from audio_files import (
    FORMS,
    SENTENCES,
    SPOKEN,
    SPOKEN_SECONDS,
    encoded,
    promising_flac,
    silent_film,
    tone,
    wav,
)
from fondaco.engines.transcription.recording import RATE, Recording
from whisper_engine import WhisperEngine, bare, events, launch, running

pytestmark = pytest.mark.anyio

TEXT = bare(" ".join(SENTENCES))
ENGLISH = ("language", "en")
BOUNDED = bool(os.environ.get("FONDACO_TEST_BOUNDED"))


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def engine() -> AsyncGenerator[WhisperEngine]:
    async with running(launch()) as one:
        yield one


@pytest.fixture(scope="module")
def spoken() -> bytes:
    return SPOKEN.read_bytes()


def pcm(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    [(samples, _)] = Recording(data, 60).pieces(60)
    return (samples * 32767).astype(np.int16)


@pytest.mark.long
async def test_it_writes_down_what_is_said_and_when(engine: WhisperEngine, spoken: bytes) -> None:
    granularities = [("timestamp_granularities[]", each) for each in ("word", "segment")]
    told = await engine.told(spoken, ("response_format", "verbose_json"), *granularities)
    assert bare(told["text"]) == TEXT
    assert (told["task"], told["language"]) == ("transcribe", "english")
    assert told["duration"] == pytest.approx(SPOKEN_SECONDS, abs=0.01)
    assert told["usage"] == {"type": "duration", "seconds": 19}
    assert [bare(segment["text"]) for segment in told["segments"]] == [bare(each) for each in SENTENCES]
    assert [segment["id"] for segment in told["segments"]] == [0, 1, 2]
    words = told["words"]
    assert bare(" ".join(word["word"] for word in words)) == TEXT
    for before, after in pairwise(words):
        assert before["start"] <= before["end"] <= after["start"] + 0.01
    # Three seconds of silence after each sentence.
    starts = {word["word"]: word["start"] for word in words}
    assert starts["Turn"] == pytest.approx(7.1, abs=0.7)
    assert starts["My"] == pytest.approx(14.2, abs=0.7)


@pytest.mark.long
async def test_it_tells_each_segment_as_it_is_heard(engine: WhisperEngine, spoken: bytes) -> None:
    status, kind, body = await engine.ask(spoken, ("stream", "true"), ENGLISH)
    assert (status, kind.partition(";")[0]) == (200, "text/event-stream")
    first, *told, last = events(body)
    assert first == {"type": "transcript.begun", "duration": pytest.approx(SPOKEN_SECONDS, abs=0.01)}
    assert {event["type"] for event in told} == {"transcript.segment"}
    segments = [event["segment"] for event in told]
    assert bare(" ".join(segment["text"] for segment in segments)) == bare(last["text"]) == TEXT
    assert (last["type"], last["language"], last["duration"]) == (
        "transcript.done",
        "english",
        first["duration"],
    )
    assert all("words" not in segment for segment in segments)
    assert all(0 <= segment["start"] <= segment["end"] <= SPOKEN_SECONDS + 0.01 for segment in segments)


@pytest.mark.long
async def test_silence_and_noise_are_no_words(engine: WhisperEngine) -> None:
    silence = np.zeros(40 * RATE, np.int16)
    hiss = (np.random.default_rng(2).normal(0, 0.4, 20 * RATE).clip(-1, 1) * 32767).astype(np.int16)
    for sound in (silence, hiss, tone(20)):
        told = await engine.told(encoded("flac", sound))
        assert (told["text"], told["usage"]["seconds"]) == ("", len(sound) // RATE)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", (422, "ASR_UPSTREAM_VALIDATION_FAILED", "file")),
        (b"a text called mp3 " * 99, (400, "INVALID_AUDIO_FORMAT", "file")),
        (wav(b""), (422, "ASR_UPSTREAM_VALIDATION_FAILED", "file")),
        (promising_flac(36_000), (422, "ASR_UPSTREAM_VALIDATION_FAILED", "file")),
        (silent_film(), (422, "ASR_UPSTREAM_VALIDATION_FAILED", "file")),
        (None, (400, "missing_file", "file")),
    ],
)
async def test_a_bad_file_is_refused_and_costs_nothing(
    engine: WhisperEngine, data: bytes | None, said: tuple[int, str, str]
) -> None:
    spent: list[float] = []
    for _ in range(3):  # what the request before it left behind is not its cost
        before = engine.cpu_seconds
        status, code, param, message = await engine.refused(data)
        spent.append(engine.cpu_seconds - before)
        assert (status, code, param) == said
        assert message
    assert min(spent) < 0.1


async def test_a_bad_field_is_refused_by_its_name(engine: WhisperEngine, spoken: bytes) -> None:
    status, _, param, message = await engine.refused(spoken, ("language", "klingon"))
    assert (status, param) == (400, "language")
    assert "ISO-639-1" in message


async def test_a_file_past_25_megabytes_is_refused(engine: WhisperEngine) -> None:
    said = await engine.refused(wav(bytes(26 * 1024 * 1024)))
    assert said == (413, "PAYLOAD_TOO_LARGE", "file", "File exceeds the maximum allowed size of 25 MB.")


@pytest.mark.long
async def test_a_client_that_leaves_ends_its_work(engine: WhisperEngine, spoken: bytes) -> None:
    """Of nine minutes of speech only the window in hand is still heard."""
    long = encoded("flac", np.tile(pcm(spoken), 30))
    for stream in ("true", "false"):
        before = engine.cpu_seconds
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(1),
                engine.begun(long, ("stream", stream), ("temperature", "1"), ENGLISH),
            ):
                await asyncio.sleep(1)
        # One thread hears: when it has done this, it is done with the other.
        assert (await engine.told(encoded("wav", pcm(spoken)[: 4 * RATE]), ENGLISH))["text"]
        spent = engine.cpu_seconds - before
        assert spent < 14
        await asyncio.sleep(1)
        assert engine.cpu_seconds - before < spent + 0.2


@pytest.mark.long
@pytest.mark.parametrize("ending", ("mp3", "m4a", "opus") if BOUNDED else FORMS)
async def test_every_kind_of_file_says_the_same(engine: WhisperEngine, spoken: bytes, ending: str) -> None:
    told = await engine.told(encoded(ending, pcm(spoken)), ENGLISH)
    assert bare(told["text"]) == TEXT


@pytest.mark.long
@pytest.mark.parametrize(
    ("response_format", "kind", "begins"),
    [
        ("text", "text/plain", "The invoice of $350"),
        ("srt", "application/x-subrip", "1\n00:00:00,000 --> 00:00:0"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:0"),
        ("json", "application/json", '{"text":"The invoice of $350'),
    ],
)
async def test_every_form_of_answer_is_given(
    engine: WhisperEngine, spoken: bytes, response_format: str, kind: str, begins: str
) -> None:
    status, told, body = await engine.ask(spoken, ENGLISH, ("response_format", response_format))
    assert (status, told.partition(";")[0]) == (200, kind)
    assert body.decode().startswith(begins)


@pytest.mark.long
async def test_a_prompt_says_how_names_are_spelt(engine: WhisperEngine, spoken: bytes) -> None:
    told = await engine.told(spoken, ENGLISH, ("prompt", "My grandmother Hellen. Hellen baked."))
    assert "Hellen" in told["text"]


def sparse(
    sentence: np.ndarray[tuple[int], np.dtype[np.int16]], seconds: int, places: Sequence[int]
) -> bytes:
    """Silence with a sentence here and there."""
    sound = np.zeros(seconds * RATE, np.int16)
    for place in places:
        sound[place * RATE : place * RATE + len(sentence)] = sentence
    return encoded("flac", sound)


@pytest.mark.long
async def test_a_long_recording_is_heard_to_its_end_in_no_more_memory(
    engine: WhisperEngine, spoken: bytes
) -> None:
    """Each word once, at its time."""
    sentence = pcm(spoken)[: 4 * RATE]
    verbose = ("response_format", "verbose_json")
    await engine.told(sparse(sentence, 300, [0, 118, 236]), ENGLISH, verbose)
    before = peak = engine.process.memory_info().rss
    places = [0, 118, 598, 902, 1500, 2694]
    asking = asyncio.ensure_future(engine.told(sparse(sentence, 2700, places), ENGLISH, verbose))
    while not asking.done():
        peak = max(peak, engine.process.memory_info().rss)
        await asyncio.sleep(0.02)
    told = asking.result()
    assert told["duration"] == pytest.approx(2700, abs=0.1)
    assert bare(told["text"]) == " ".join([bare(SENTENCES[0])] * len(places))
    for segment, place in zip(told["segments"], places, strict=True):
        assert segment["start"] == pytest.approx(place, abs=1)
    # The whole of it would be 173 MB of samples, and more than a gigabyte on the way to a model.
    assert peak - before < 150_000_000


@pytest.mark.long
async def test_a_short_recording_does_not_wait_for_a_long_one(engine: WhisperEngine, spoken: bytes) -> None:
    long = encoded("flac", np.tile(pcm(spoken), 5))
    short = encoded("flac", pcm(spoken)[: 4 * RATE])
    slow = asyncio.ensure_future(engine.told(long, ENGLISH))
    await asyncio.sleep(1)
    told = await engine.told(short, ENGLISH)
    assert bare(told["text"]) == bare(SENTENCES[0])
    assert not slow.done()
    assert (await slow)["text"].count("$350") == 5


async def test_no_thread_is_left_behind(engine: WhisperEngine) -> None:
    short = encoded("flac", tone(1))
    await asyncio.gather(*(engine.told(short) for _ in range(16)))
    before = engine.process.num_threads()
    for _ in range(10):
        await engine.told(short)
    assert engine.process.num_threads() <= before + 1

"""POST /audio/speech of a whole gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import openai
import pytest

import fake_engines
from fake_engines import Seen
from fondaco.speech.wire import MEDIA_TYPES
from gateways import ADMIN_KEY
from served_app import ServedApp, binding, served_app
from speech_engine import decoded

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PATH = "/audio/speech"
AUDIO = b"ID3" + bytes(range(256)) * 8


def speaks(seen: Seen) -> fake_engines.Answer:
    assert seen.path == "/v1/audio/speech"
    if seen.body["input"] == "break":
        return fake_engines.Answer([AUDIO], content_type="audio/mpeg", breaks=True)
    if seen.body["input"] == "wait":
        return fake_engines.Answer([AUDIO], content_type="audio/mpeg", hangs=True)
    return fake_engines.Answer([AUDIO[:1000], AUDIO[1000:]], content_type="audio/mpeg")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ServedApp]:
    with fake_engines.engine(speaks) as engine:
        bind = {"m": {"base_url": engine.base_url}, "far": binding(engine, type="tts", input_usd="10")}
        async with served_app(tmp_path_factory.mktemp("speech"), bind) as app:
            yield app


async def test_a_bound_server_speaks(gateway: ServedApp) -> None:
    await gateway.forget()
    for form, kind in MEDIA_TYPES.items():
        answer = await gateway.ask("POST", PATH, {"model": "far", "input": "héllo", "response_format": form})
        assert (answer.status, answer.body) == (200, AUDIO)
        assert answer.headers["content-type"] == kind.decode()
        assert answer.headers["content-length"] == str(len(AUDIO))
        assert answer.headers["x-venice-model-id"] == "far"
        assert answer.headers["x-venice-model-router"] == "remote"
    lines = await gateway.settled(len(MEDIA_TYPES))
    assert {(line["sku"], str(line["units"]), str(line["amount"])) for line in lines} == {
        ("far-tts-mcharacter", "0.000005", "-0.00005")
    }
    assert await gateway.faults() == []


async def test_a_streamed_answer_comes_in_chunks(gateway: ServedApp) -> None:
    answer = await gateway.ask("POST", PATH, {"model": "far", "input": "hello", "streaming": True})
    assert (answer.status, answer.body) == (200, AUDIO)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers


async def test_openais_events_are_given_to_who_asks_for_them(gateway: ServedApp) -> None:
    answer = await gateway.ask("POST", PATH, {"model": "far", "input": "hello", "stream_format": "sse"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *deltas, done = [json.loads(event[6:]) for event in answer.body.split(b"\n\n") if event]
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert (done["type"], done["usage"]["total_tokens"]) == ("speech.audio.done", 5)


async def test_a_file_that_breaks_off_is_not_ended_cleanly_and_costs_nothing(gateway: ServedApp) -> None:
    await gateway.forget()
    wire = await gateway.connect()
    await wire.send(gateway.request("POST", PATH, {"model": "far", "input": "break", "streaming": True}))
    status, _ = await wire.head()
    assert status == 200
    rest = await wire.reader.read()
    assert not rest.endswith(b"0\r\n\r\n")
    assert b"data:" not in rest
    answer = await gateway.ask("POST", PATH, {"model": "far", "input": "break"})
    assert (answer.status, answer.json()["code"]) == (502, "UPSTREAM_FAILED")
    assert await gateway.entries() == []


async def test_who_leaves_pays_once(gateway: ServedApp) -> None:
    await gateway.forget()
    wire = await gateway.connect()
    await wire.send(gateway.request("POST", PATH, {"model": "far", "input": "wait", "streaming": True}))
    await wire.head()
    await wire.reader.readexactly(100)
    wire.leave()
    [line] = await gateway.settled(1)
    assert str(line["units"]) == "0.000004"
    assert await gateway.faults() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"input": "x", "speed": 0.2}, "speed"),
        ({"input": "x", "speed": 4.1}, "speed"),
        ({"input": "x", "response_format": "ogg"}, "response_format"),
        ({"input": "x", "voice": "v" * 513}, "voice"),
        ({"input": "x", "language": "x"}, "language"),
        ({"input": "x", "prompt": "p" * 501}, "prompt"),
        ({"input": "x", "temperature": 2.1}, "temperature"),
        ({"input": "x", "top_p": 1.1}, "top_p"),
        ({"input": "x", "streaming": "yes"}, "streaming"),
        ({"input": "x", "stream_format": "both"}, "stream_format"),
    ],
)
async def test_a_field_that_is_wrong_is_named(gateway: ServedApp, body: dict[str, Any], field: str) -> None:
    answer = await gateway.ask("POST", PATH, {"model": "far", **body})
    assert answer.status == 400
    told = answer.json()
    assert told["code"] == "INVALID_REQUEST"
    assert told["issues"][0]["path"] == [field]
    assert told["details"][field]["_errors"]
    if len(str(body.get("input"))) > 4096:
        assert "4096" in told["issues"][0]["message"]


async def test_unknown_fields_are_refused_and_nulls_pass(gateway: ServedApp) -> None:
    answer = await gateway.ask("POST", PATH, {"model": "far", "input": "x", "pitch": 2})
    assert "pitch" in answer.json()["issues"][0]["message"]
    nulls = dict.fromkeys(("voice", "speed", "response_format", "streaming", "language", "instructions"))
    assert (await gateway.ask("POST", PATH, {"model": "far", "input": "x", **nulls})).status == 200


async def test_other_faults_have_their_own_status(gateway: ServedApp) -> None:
    async def status(body: Any, *headers: str, key: str = ADMIN_KEY) -> int:
        return (await gateway.ask("POST", PATH, body, key, *headers)).status

    assert await status({"input": "x", "model": "nope"}) == 404
    assert await status({"input": "x", "model": "m"}) == 404
    assert await status(b"{") == 400
    assert await status({"input": "x"}, key="wrong") == 401


@pytest.mark.long
async def test_the_official_client_gets_the_real_voice_in_every_format(tmp_path: Path) -> None:
    async with (
        served_app(tmp_path, {}, local="smollm2-135m-instruct") as gateway,
        openai.AsyncOpenAI(base_url=gateway.base_url, api_key=ADMIN_KEY) as client,
    ):
        for form in MEDIA_TYPES:
            made = await client.audio.speech.create(
                model="tts-1", voice="nova", input="Good morning, Venice.", response_format=form
            )
            assert 0.8 < decoded(made.content, form).size / 24_000 < 3
        async with client.audio.speech.with_streaming_response.create(
            model="tts-kokoro",
            voice="af_sky",
            input="One.\n\nTwo.",
            response_format="pcm",
            extra_body={"streaming": True},
        ) as response:
            pieces = [piece async for piece in response.iter_bytes()]
        assert len(pieces) > 1
        with pytest.raises(openai.BadRequestError):
            await client.audio.speech.create(model="tts-1", voice="nova", input="😀")
        refused = await gateway.ask("POST", PATH, {"model": "tts-1", "input": "😀"})
        assert refused.json()["error"] == "Input must contain speakable text"
        assert refused.json()["issues"][0]["path"] == ["input"]
        lines = await gateway.settled(len(MEDIA_TYPES) + 1)
        assert {line["sku"] for line in lines} == {"tts-kokoro-tts-mcharacter"}
        assert await gateway.faults() == []


async def test_speech_obeys_idempotency_keys(gateway: ServedApp) -> None:
    await gateway.forget()
    body = {"model": "far", "input": "once"}
    first = await gateway.ask("POST", PATH, body, ADMIN_KEY, "idempotency-key: speech-1")
    again = await gateway.ask("POST", PATH, body, ADMIN_KEY, "idempotency-key: speech-1")
    assert first.body == again.body == AUDIO
    assert again.headers["content-type"] == "audio/mpeg"
    await gateway.settled(1)

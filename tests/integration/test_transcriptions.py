"""POST /audio/transcriptions through a gateway, to servers that speak OpenAI's wire in all the ways there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from audio_files import encoded, tone, wav
from fake_engines import Answer, FakeEngine, Seen, engine
from fondaco.billing.prices.audio import likely
from fondaco.media.multipart import File, Form, boundary_of, read_form, write_form
from gateways import ADMIN_KEY
from raw_http import Answer as Said
from served_app import ServedApp, served_app

pytestmark = pytest.mark.anyio

PATH = "/audio/transcriptions"
MP3 = encoded("mp3", tone(2.5))
PRICE = Decimal("0.0001")

WORDS = [{"word": "Hello", "start": 0.1, "end": 0.6}, {"word": "you.", "start": 0.7, "end": 1.1}]
SEGMENTS = [{"id": 0, "start": 0.0, "end": 1.2, "text": " Hello you.", "tokens": [1, 2], "avg_logprob": -0.2}]
VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 2.5,
    "text": "Hello you.",
    "segments": SEGMENTS,
    "words": WORDS,
}


def told(body: Any, status: int = 200) -> Answer:
    return Answer([json.dumps(body).encode()], status, "application/json")


def form_of(seen: Seen) -> Form:
    return read_form(seen.body, boundary_of(seen.headers["content-type"].encode()))


@asynccontextmanager
async def gateway(
    folder: Path, answer: Answer | Callable[[Seen], Answer], **sections: Any
) -> AsyncGenerator[tuple[ServedApp, FakeEngine]]:
    with engine(answer) as behind:
        bind = {
            "m": {"base_url": behind.base_url},
            "asr": {
                "base_url": behind.base_url,
                "type": "asr",
                "upstream_model": "their-whisper",
                "second_usd": str(PRICE),
            },
        }
        async with served_app(folder, bind, **sections) as served:
            yield served, behind


async def ask(
    served: ServedApp,
    data: bytes | None = MP3,
    *fields: tuple[str, str],
    key: str = ADMIN_KEY,
    headers: str = "",
) -> Said:
    files = [] if data is None else [("file", File(memoryview(data), "mine.xyz", "text/plain"))]
    kind, body = write_form([("model", "asr"), *fields], files)
    lines = [
        f"POST /api/v1{PATH} HTTP/1.1",
        "host: x",
        f"authorization: Bearer {key}",
        f"content-length: {len(body)}",
        f"content-type: {kind.decode()}",
        *([headers] if headers else []),
    ]
    wire = await served.connect()
    try:
        return await wire.ask("\r\n".join((*lines, "", "")).encode() + body)
    finally:
        wire.leave()


async def test_it_is_asked_of_the_bound_server_and_paid_by_the_second(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, behind):
        fields = [("language", "en"), ("prompt", "Ada"), ("temperature", "0.2"), ("whatever", "else")]
        said = await ask(served, MP3, *fields)
        assert said.status == 200
        assert said.json() == {
            "text": "Hello you.",
            "duration": 2.5,
            "model": "asr",
            "usage": {"type": "duration", "seconds": 3},
        }
        assert said.headers["x-venice-model-id"] == "asr"
        assert said.headers["x-venice-model-router"] == "remote"
        [seen] = behind.seen
        assert seen.path == "/v1/audio/transcriptions"
        form = form_of(seen)
        assert form.fields == {
            "response_format": ["verbose_json"],
            "model": ["their-whisper"],
            "language": ["en"],
            "prompt": ["Ada"],
            "temperature": ["0.2"],
            "timestamp_granularities[]": ["segment"],
        }
        file = form.file("file")
        assert file is not None
        # What it is called here is nobody else's business, and its name must say what it is.
        assert (file.name, file.content_type, bytes(file.data)) == ("audio.mp3", "audio/mpeg", MP3)
        [row] = await served.settled(1)
        assert (row["sku"], row["units"], row["amount"]) == (
            "asr-asr-second",
            Decimal("2.5"),
            -PRICE * Decimal("2.5"),
        )


async def test_every_form_of_answer_is_made_from_what_the_server_said(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, behind):
        text = await ask(served, MP3, ("response_format", "text"))
        assert (text.headers["content-type"], text.body) == ("text/plain; charset=utf-8", b"Hello you.")
        srt = await ask(served, MP3, ("response_format", "srt"))
        assert srt.headers["content-type"] == "application/x-subrip; charset=utf-8"
        assert srt.body == b"1\n00:00:00,000 --> 00:00:01,200\nHello you.\n\n"
        vtt = await ask(served, MP3, ("response_format", "vtt"))
        assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
        assert vtt.body == b"WEBVTT\n\n00:00:00.000 --> 00:00:01.200\nHello you.\n\n"
        verbose = (await ask(served, MP3, ("response_format", "verbose_json"))).json()
        assert {name: verbose[name] for name in ("task", "language", "duration", "text")} == {
            name: VERBOSE[name] for name in ("task", "language", "duration", "text")
        }
        assert "words" not in verbose
        [segment] = verbose["segments"]
        assert segment.items() >= SEGMENTS[0].items()
        granular = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
        worded = (await ask(served, MP3, *granular)).json()
        assert worded["words"] == WORDS
        assert "segments" not in worded
        assert form_of(behind.seen[-1]).texts("timestamp_granularities") == ["word", "segment"]


async def test_timestamps_are_of_segments_words_and_letters(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, _):
        for yes in ("true", "True", "1", "yes"):
            said = (await ask(served, MP3, ("timestamps", yes))).json()
            assert said["timestamps"]["word"] == WORDS
            assert said["timestamps"]["segment"] == [{"text": "Hello you.", "start": 0.0, "end": 1.2}]
            letters = said["timestamps"]["char"]
            assert "".join(each["char"] for each in letters) == "Helloyou."
            assert letters[0] == {"char": "H", "start": 0.1, "end": 0.2}
            assert letters[-1]["end"] == 1.1
        for no in ("false", "0", ""):
            assert "timestamps" not in (await ask(served, MP3, ("timestamps", no))).json()


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"text": "Hi.", "duration": "2.0"}, Decimal(2)),
        ({"text": "Hi.", "usage": {"type": "duration", "seconds": 3}}, Decimal(3)),
        ({"text": "Hi.", "segments": [{"start": 0, "end": 1.5, "text": "Hi."}]}, Decimal("1.5")),
        ({"text": "Hi."}, Decimal(len(MP3) * 1000 // 16_000) / 1000),
    ],
)
async def test_a_server_that_says_less_is_paid_by_what_it_says(
    tmp_path: Path, answer: dict[str, Any], seconds: Decimal
) -> None:
    async with gateway(tmp_path, told(answer)) as (served, _):
        assert (await ask(served)).json()["text"] == "Hi."
        [row] = await served.settled(1)
        assert (row["units"], row["amount"]) == (seconds, -PRICE * seconds)


async def test_a_server_that_knows_only_json_is_asked_for_that_from_then_on(tmp_path: Path) -> None:
    def terse(seen: Seen) -> Answer:
        if form_of(seen).text("response_format") == "json":
            return told({"text": "Hi."})
        fault = "response_format 'verbose_json' is not compatible with model 'their-whisper'"
        return told(
            {"error": {"message": fault, "param": "response_format", "code": "unsupported_value"}}, 400
        )

    async with gateway(tmp_path, terse) as (served, behind):
        for asked in (2, 3):
            assert (await ask(served)).json()["text"] == "Hi."
            assert len(behind.seen) == asked
        assert (await ask(served, MP3, ("response_format", "srt"))).body.endswith(b"\nHi.\n\n")


async def test_a_server_that_answers_in_plain_text_is_understood(tmp_path: Path) -> None:
    async with gateway(tmp_path, Answer([b"Hi ", b"there.\n"], content_type="text/plain")) as (served, _):
        assert (await ask(served)).json()["text"] == "Hi there."


# Refusals.


async def test_what_is_wrong_with_the_request_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, behind):
        none = await ask(served, None)
        assert (none.status, none.json()["error"]) == (400, "No audio file provided")
        assert none.json()["issues"][0]["path"] == ["file"]
        empty = await ask(served, b"")
        assert (empty.status, empty.json()["code"]) == (422, "ASR_UPSTREAM_VALIDATION_FAILED")
        foreign = await ask(served, b"PK\x03\x04 a zip called mp3 " * 20)
        assert (foreign.status, foreign.json()["code"]) == (400, "INVALID_AUDIO_FORMAT")
        large = await ask(served, wav(bytes(25 * 1024 * 1024)))
        assert (large.status, large.json()) == (
            413,
            {"error": "File exceeds the maximum allowed size of 25 MB.", "code": "PAYLOAD_TOO_LARGE"},
        )
        for field, value in [
            ("response_format", "yaml"),
            ("timestamps", "perhaps"),
            ("temperature", "hot"),
            ("temperature", "1.1"),
            ("timestamp_granularities[]", "letter"),
        ]:
            said = await ask(served, MP3, (field, value))
            assert said.status == 400
            assert said.json()["issues"][0]["path"][0] == field.removesuffix("[]")
        unknown = await ask(served, MP3, ("model", "nobody"))
        assert (unknown.status, unknown.json()["code"]) == (404, "MODEL_NOT_FOUND")
        textual = await ask(served, MP3, ("model", "m"))
        assert textual.status == 404
        json_body = await served.ask("POST", PATH, {"model": "asr"})
        assert (json_body.status, json_body.json()["code"]) == (415, "INVALID_CONTENT_TYPE")
        assert behind.seen == []
        assert await served.entries() == []


async def test_a_broken_form_is_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, _):
        for body in (b"", b"--b", b"--b\r\nno form"):
            head = (
                f"POST /api/v1{PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
                f"content-type: multipart/form-data; boundary=b\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            wire = await served.connect()
            said = await wire.ask(head.encode() + body)
            wire.leave()
            assert said.status == 400
            assert said.json()["error"].startswith("Invalid form request: ")


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        ({"message": "No such language", "param": "language"}, 400, (400, "INVALID_REQUEST")),
        ({"message": "Cannot decode", "param": "file"}, 400, (422, "ASR_UPSTREAM_VALIDATION_FAILED")),
        (
            {"message": "Cut short", "param": "file", "code": "ASR_UPSTREAM_VALIDATION_FAILED"},
            422,
            (422, "ASR_UPSTREAM_VALIDATION_FAILED"),
        ),
        ({"message": "No MP3", "code": "INVALID_AUDIO_FORMAT"}, 400, (400, "INVALID_AUDIO_FORMAT")),
        ({"message": "Something else"}, 400, (400, "INVALID_REQUEST")),
        ({"message": "Broken"}, 500, (500, "INFERENCE_FAILED")),
        ({"message": "No key"}, 401, (502, "ASR_UPSTREAM_FAILED")),
    ],
)
async def test_a_servers_refusal_is_told_as_the_contract_has_it_and_costs_nothing(
    tmp_path: Path, error: dict[str, str], status: int, expected: tuple[int, str]
) -> None:
    async with gateway(tmp_path, told({"error": error}, status)) as (served, _):
        said = await ask(served)
        assert (said.status, said.json()["code"]) == expected
        if error.get("param") == "language":
            assert said.json()["issues"][0] == {
                "code": "custom",
                "path": ["language"],
                "message": error["message"],
            }
        assert await served.entries() == []


@pytest.fixture(params=["nonsense", "broken", "no text", "half a stream"])
def bad(request: pytest.FixtureRequest) -> Answer:
    begun = b'data: {"type":"transcript.begun","duration":2.5}\n\n'
    return {
        "nonsense": Answer([b"<html>"], content_type="application/json"),
        "broken": Answer([b'{"text": "Hel'], content_type="application/json", breaks=True),
        "no text": told({"words": []}),
        "half a stream": Answer([begun]),
    }[request.param]


async def test_an_answer_that_is_none_is_a_clean_error_and_costs_nothing(tmp_path: Path, bad: Answer) -> None:
    async with gateway(tmp_path, bad) as (served, _):
        said = await ask(served)
        assert (said.status, said.json()["code"]) == (502, "ASR_UPSTREAM_FAILED")
        assert await served.entries() == []


# Money.


def stream(*seconds: float) -> bytes:
    """What an engine of ours tells: a segment of one word that ends at each of these times."""
    events: list[dict[str, Any]] = [{"type": "transcript.begun", "duration": 60.0}]
    for end in seconds:
        segment = {"start": end - 1, "end": end, "text": " word"}
        events.append({"type": "transcript.segment", "segment": segment})
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


async def test_a_client_that_leaves_pays_for_what_was_heard(tmp_path: Path) -> None:
    answer = Answer([stream(7.25, 9.5)], hangs=True)
    async with gateway(tmp_path, answer) as (served, behind):
        asking = asyncio.ensure_future(ask(served, encoded("wav", tone(60))))
        async with asyncio.timeout(5):
            while not behind.seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        asking.cancel()
        [row] = await served.settled(1)
        assert row["units"] == Decimal("9.5")
        async with asyncio.timeout(5):
            while not behind.left:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_a_client_that_leaves_a_server_that_tells_nothing_pays_for_the_file(tmp_path: Path) -> None:
    async with gateway(tmp_path, Answer([], hangs=True)) as (served, behind):
        file = encoded("wav", tone(3))
        asking = asyncio.ensure_future(ask(served, file))
        async with asyncio.timeout(5):
            while not behind.seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        asking.cancel()
        [row] = await served.settled(1)
        assert row["units"] == Decimal(likely(len(file))) / 1000


async def test_a_stream_is_folded_into_one_answer(tmp_path: Path) -> None:
    done = {"type": "transcript.done", "text": "word word", "language": "english", "duration": 60.0}
    answer = Answer([stream(7.25, 9.5), b"data: " + json.dumps(done).encode() + b"\n\n"])
    async with gateway(tmp_path, answer) as (served, _):
        said = await ask(served, encoded("wav", tone(60)), ("response_format", "verbose_json"))
        assert (said.json()["text"], len(said.json()["segments"])) == ("word word", 2)
        [row] = await served.settled(1)
        assert row["units"] == Decimal(60)


async def test_no_file_costs_more_than_its_size_can_hold(tmp_path: Path) -> None:
    """A server that tells a day of a small file is not believed."""
    async with gateway(tmp_path, told({**VERBOSE, "duration": 86_400})) as (served, _):
        assert (await ask(served)).status == 200
        [row] = await served.settled(1)
        assert row["units"] == Decimal(-(-len(MP3) * 1000 // 500)) / 1000


async def test_a_key_that_cannot_pay_has_nothing_transcribed(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, behind):
        poor = await served.key(consumptionLimit={"usd": 0.0001})
        said = await ask(served, MP3, key=poor.token)
        assert (said.status, said.json()["code"]) == (402, "API_KEY_USD_SPEND_LIMIT_EXCEEDED")
        assert behind.seen == []
        rich = await served.key(consumptionLimit={"usd": 1})
        assert (await ask(served, MP3, key=rich.token)).status == 200


async def test_a_repeat_is_known_by_its_content_not_by_its_boundary(tmp_path: Path) -> None:
    async with gateway(tmp_path, told(VERBOSE)) as (served, behind):
        first = await ask(served, headers="idempotency-key: one")
        again = await ask(served, headers="idempotency-key: one")
        assert (again.status, again.body) == (first.status, first.body)
        assert again.headers["idempotent-replayed"] == "true"
        other = await ask(served, MP3, ("language", "de"), headers="idempotency-key: one")
        assert other.status in (409, 422)
        assert len(behind.seen) == 1
        await served.settled(1)

"""What nobody can hear, read aloud or compare, sent through a gateway to the real engines."""

from __future__ import annotations

import asyncio
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from audio_files import (
    crowded_opus,
    encoded,
    promising_flac,
    promising_m4a,
    silent_film,
    tone,
    wav,
)
from gateways import ADMIN_KEY, Gateway, running
from raw_http import Answer
from served_app import Client, Key, form

# A fresh machine fetches weights within the first test that needs them.
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

SPEECH, TRANSCRIPTIONS, EMBEDDINGS = "/audio/speech", "/audio/transcriptions", "/embeddings"
MINILM = "all-minilm-l6-v2"

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("speech.wav", wav(tone(1).tobytes()))
    return out.getvalue()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Gate:
    """The shared gateway, asked with keys that have not failed so often that they are refused."""

    def __init__(self, gateway: Gateway) -> None:
        self.client = Client(urlsplit(gateway.root).port or 0)
        self.process = psutil.Process(gateway.process.pid)
        self._key: Key | None = None
        self._asked = 0

    async def ask(self, path: str, body: Any) -> Answer:
        if self._key is None or self._asked % 18 == 0:
            self._key = await self.client.key()
        self._asked += 1
        return await patient(self.client, path, body, self._key.token)

    def cpu_seconds(self) -> float:
        """Of the gateway and all its engines."""
        every = [self.process, *self.process.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in every)


async def patient(client: Client, path: str, body: Any, key: str = ADMIN_KEY) -> Answer:
    """An answer that may take as long as an engine that is loaded first."""
    wire = await client.connect()
    try:
        await wire.send(client.request("POST", path, body, key, "connection: close"))
        async with asyncio.timeout(300):
            raw = await wire.reader.read()
    finally:
        wire.leave()
    head, _, rest = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first.split()[1]), headers, rest)


@pytest.fixture(scope="module")
async def gate(tiny_gateway: Gateway) -> AsyncGenerator[Gate]:
    made = Gate(tiny_gateway)
    for path, body in good().items():
        answer = await made.ask(path, body)
        assert answer.status == 200, answer.body
    yield made
    for path, body in good().items():
        assert (await made.ask(path, body)).status == 200, "it still works"
    made.client.close()


def good() -> dict[str, Any]:
    return {
        SPEECH: {"model": "tts-kokoro", "input": "Hi."},
        TRANSCRIPTIONS: form(wav(tone(1).tobytes())),
        EMBEDDINGS: {"model": MINILM, "input": "Hi."},
    }


NOT_AUDIO = (400, "INVALID_AUDIO_FORMAT")
NOT_HEARD = (422, "ASR_UPSTREAM_VALIDATION_FAILED")
SECOND = tone(1).tobytes()
FILES: dict[str, tuple[bytes, tuple[int, str]]] = {
    "empty": (b"", NOT_HEARD),
    "one byte": (b"\0", NOT_AUDIO),
    "text called .mp3": (b"This is no music. " * 99, NOT_AUDIO),
    "a zip": (zipped(), NOT_AUDIO),
    "a picture": (PNG * 99, NOT_AUDIO),
    "a page": (b"<!doctype html><audio src=x>" * 99, NOT_AUDIO),
    "a playlist": (b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd\n" * 9, NOT_AUDIO),
    "a WAV without sound": (wav(b""), NOT_HEARD),
    "a WAV of 10 hours": (wav(SECOND, promised=36_000 * 32_000), NOT_HEARD),
    "a FLAC of 10 hours": (promising_flac(36_000), NOT_HEARD),
    "an M4A of 10 hours": (promising_m4a(36_000), NOT_HEARD),
    "192 channels": (wav(SECOND, channels=192), NOT_HEARD),
    "192 channels of Opus": (crowded_opus(192), NOT_HEARD),
    "0 channels": (wav(SECOND, channels=0), NOT_HEARD),
    "0 Hz": (wav(SECOND, rate=0), NOT_HEARD),
    "4 GHz": (wav(SECOND, rate=2**32 - 1), NOT_HEARD),
    "a film without sound": (silent_film(), NOT_HEARD),
    "half a FLAC": (encoded("flac", tone(4))[:20_000], NOT_HEARD),
    "half an M4A": (encoded("m4a", tone(4))[:9000], NOT_HEARD),
    "half a WebM": (encoded("webm", tone(4))[:300], NOT_HEARD),
    "the head of an MP3": (encoded("mp3", tone(1))[:40], NOT_AUDIO),
    "the head of an Ogg": (encoded("opus", tone(1))[:60], NOT_HEARD),
    "noise after an MP3's tag": (b"ID3\4\0\0\0\0\0\0\xff\xfb\x90\0" + bytes(range(256)) * 40, NOT_HEARD),
}


@pytest.mark.parametrize("name", FILES)
async def test_a_file_that_cannot_be_heard_is_refused(gate: Gate, name: str) -> None:
    data, expected = FILES[name]
    before = gate.cpu_seconds()
    answer = await gate.ask(TRANSCRIPTIONS, form(data, name="speech.mp3"))
    told = answer.json()
    assert (answer.status, told["code"]) == expected
    assert told["error"]
    assert gate.cpu_seconds() - before < 0.15, "of it 0.05 for the rest of the request"


async def test_a_form_without_a_file_names_it(gate: Gate) -> None:
    answer = await gate.ask(TRANSCRIPTIONS, form(None, ("model", "whisper-base")))
    assert (answer.status, answer.json()["issues"][0]["path"]) == (400, ["file"])
    answer = await gate.ask(TRANSCRIPTIONS, form(wav(SECOND), ("language", "klingon")))
    assert (answer.status, answer.json()["issues"][0]["path"]) == (400, ["language"])


UNSPEAKABLE = ("🎉", "🎉🎊 🥳", "...", "?!", " ", "\n\n\t", "\0\x01\x1b", "\u200b\u200d\ufeff", "\u202e", "—")


@pytest.mark.parametrize("text", UNSPEAKABLE, ids=ascii)
async def test_what_has_nothing_to_say_is_refused(gate: Gate, text: str) -> None:
    answer = await gate.ask(SPEECH, {"model": "tts-kokoro", "input": text})
    told = answer.json()
    assert (answer.status, told["code"]) == (400, "INVALID_REQUEST"), answer.body
    assert told["error"] == "Input must contain speakable text"
    assert told["issues"][0]["path"] == ["input"]


@pytest.mark.parametrize(
    "text",
    [
        "Hi \x00\x07\x1b[2J there",
        "Ship 🚢 ahoy",
        "Zoë naïve Привет 你好",
        "\ud83d\ude00 ok".encode("utf-16", "surrogatepass").decode("utf-16"),
        "a" * 300,
        "1" * 60,
        "<speak><break time='9s'/>hi</speak>",
        "a\u0301\u0302\u0303" * 30,
    ],
    ids=lambda text: ascii(text)[:30],
)
@pytest.mark.long
async def test_odd_text_is_spoken_all_the_same(gate: Gate, text: str) -> None:
    answer = await gate.ask(SPEECH, {"model": "tts-kokoro", "input": text, "speed": 4})
    assert (answer.status, answer.headers["content-type"]) == (200, "audio/mpeg"), answer.body[:500]
    assert len(answer.body) > 1000


SPEECH_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": "x" * 4097}, "input", "4096"),
    ({"input": "😀" * 4097}, "input", "4096"),
    ({"input": ""}, "input", "at least 1 character"),
    ({"input": "Hi", "voice": "nobody"}, "voice", "af_sky"),
    ({"input": "Hi", "voice": "../../etc/passwd"}, "voice", "af_sky"),
    ({"input": "Hi", "voice": {"id": "nobody"}}, "voice", "af_sky"),
    ({"input": "Hi", "language": "tlh"}, "language", "en-us"),
    ({"input": "Hi", "speed": 4.01}, "speed", "4"),
    ({"input": "Hi", "response_format": "ogg"}, "response_format", "mp3"),
]


@pytest.mark.parametrize(("fields", "field", "allowed"), SPEECH_REFUSED, ids=lambda value: str(value)[:40])
async def test_a_wrong_field_of_speech_is_named_with_what_is_allowed(
    gate: Gate, fields: dict[str, Any], field: str, allowed: str
) -> None:
    answer = await gate.ask(SPEECH, {"model": "tts-kokoro", **fields})
    told = answer.json()
    assert (answer.status, told["code"]) == (400, "INVALID_REQUEST")
    assert told["issues"][0]["path"] == [field]
    assert allowed in told["issues"][0]["message"]


VECTORS_REFUSED: list[tuple[dict[str, Any], list[Any], str]] = [
    ({"input": ["a"] * 2049}, ["input"], "2048"),
    ({"input": [*["a"] * 1000, "", *["a"] * 1000]}, ["input", 1000], "at least 1 character"),
    ({"input": []}, ["input"], "at least 1 element"),
    ({"input": "word " * 8191}, ["input"], "8192"),
    ({"input": ["a", "word " * 8191]}, ["input", 1], "8192"),
    ({"input": "x" * 2_000_000}, ["input"], "8192"),
    ({"input": [5, 30_522]}, ["input"], "30521"),
    ({"input": [[5], [2**31]]}, ["input", 1, 0], "2147483647"),
    ({"input": "a", "dimensions": 383}, ["dimensions"], "384"),
    ({"input": "a", "encoding_format": "int8"}, ["encoding_format"], "base64"),
]


@pytest.mark.parametrize(("fields", "path", "allowed"), VECTORS_REFUSED, ids=lambda value: str(value)[:40])
async def test_a_wrong_field_of_embeddings_is_named_with_what_is_allowed(
    gate: Gate, fields: dict[str, Any], path: list[Any], allowed: str
) -> None:
    answer = await gate.ask(EMBEDDINGS, {"model": MINILM, **fields})
    told = answer.json()
    assert (answer.status, told["code"]) == (400, "INVALID_REQUEST"), answer.body
    assert told["issues"][0]["path"] == path
    assert allowed in told["issues"][0]["message"]


async def test_any_text_has_a_vector(gate: Gate) -> None:
    texts = ["🎉", "\0", " ", "\u202e\u200b", "\ufffd", "你好 Привет नमस्ते", "a\u0301" * 99, "x" * 5000]
    answer = await gate.ask(EMBEDDINGS, {"model": MINILM, "input": texts})
    assert answer.status == 200, answer.body
    for item in answer.json()["data"]:
        assert sum(number**2 for number in item["embedding"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("path", [SPEECH, EMBEDDINGS])
async def test_half_a_surrogate_is_no_text(gate: Gate, path: str) -> None:
    body = b'{"model": "%b", "input": "\\ud800"}' % (b"tts-kokoro" if path == SPEECH else MINILM.encode())
    answer = await gate.ask(path, body)
    assert answer.status == 400, answer.body


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Without limits of its own, so that all that comes goes to the engines."""
    config = "[limits]\nscale = 0\nabuse_failures = 0\n"
    folder: Path = tmp_path_factory.mktemp("open")
    with running(folder, "--model", "smollm2-135m-instruct", config=config) as gateway:
        yield gateway


@pytest.mark.long
@pytest.mark.parametrize("path", [SPEECH, TRANSCRIPTIONS, EMBEDDINGS])
async def test_a_hundred_at_once_are_answered_or_refused(open_gateway: Gateway, path: str) -> None:
    client = Client(urlsplit(open_gateway.root).port or 0)
    assert (await patient(client, path, good()[path])).status == 200
    # Each text takes a second of both cores.
    count = 30 if path == SPEECH and os.environ.get("FONDACO_TEST_BOUNDED") else 100
    answers = await asyncio.gather(*(patient(client, path, good()[path]) for _ in range(count)))
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 429, 503}, statuses
    assert statuses[200] >= 16
    for answer in answers:
        if answer.status == 200:
            assert answer.body
        else:
            assert json.loads(answer.body)["code"] in ("MODEL_AT_CAPACITY", "MODEL_OFFLINE")
            assert int(answer.headers["retry-after"]) >= 1
    assert (await patient(client, path, good()[path])).status == 200
    client.close()

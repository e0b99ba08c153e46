"""The real engines for speech, transcription and embeddings keep nothing of what they are told, nor when they are killed."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import av
import psutil
import pytest
from av.audio.stream import AudioStream

from audio_files import SPOKEN, encoded, tone, wav
from conftest import House, housed
from fondaco.media.multipart import File, write_form

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

BOUNDED = bool(os.environ.get("FONDACO_TEST_BOUNDED"))

SPEECH, TRANSCRIPTIONS, EMBEDDINGS = "/audio/speech", "/audio/transcriptions", "/embeddings"


def test_three_engines_right_and_wrong_leave_nothing(tmp_path: Path) -> None:
    with housed(tmp_path / "house", "json", "--model", "says") as house, watched(house) as written:
        plant = house.flock.plant
        asked: dict[str, dict[str, Any]] = {
            "af_sky": {"response_format": "mp3", "streaming": True},
            "alloy": {"response_format": "opus", "speed": 3.5, "instructions": plant("instructions")},
            "bm_daniel": {"stream_format": "sse", "prompt": plant("prompt")},
            # Each of these is read by another library.
            "ef_dora": {"response_format": "flac"},
            "zf_xiaobei": {"response_format": "wav"},
            "jf_alpha": {"response_format": "aac"},
        }
        for voice in ("af_sky", "ef_dora", "jf_alpha") if BOUNDED else asked:
            # The least that is looked for, as a canary is read letter by letter.
            text = f"It is {house.flock.stem}."
            assert_status(speak(house, **{"voice": voice, "input": text, "speed": 2, **asked[voice]}), 200)
        text = plant("input")
        assert_status(speak(house, voice=plant("voice"), input=text), 400)
        assert_status(speak(house, voice="af_sky", language=plant("language")[:32], input=text), 400)
        assert_status(speak(house, voice="af_sky", input=text * 150), 400)

        # An MP3's tag, an M4A's, a WAV's chunk.
        for form in ("mp3", "ipod", "wav"):
            file = tagged(form, plant(f"tag of {form}"))
            assert house.flock.seen_in([("the file", file)])
            fields = [("prompt", plant("prompt")), ("response_format", "verbose_json"), ("language", "en")]
            assert_status(transcribe(house, file, fields, f"{plant('file name')}.{form}"), 200)
        spoken = SPOKEN.read_bytes()
        heard = transcribe(house, spoken, [("prompt", plant("prompt")), ("language", "en")])
        # A canary is no prompt that helps: the model may pass over one sentence or the other.
        told = assert_status(heard, 200)
        assert b"grandmother" in told or b"museum" in told
        assert_status(transcribe(house, spoken, [("language", plant("language"))]), 400)
        for bad in (
            encoded("flac", tone(1))[:3000] + plant("damaged").encode() * 99,
            wav(plant("samples").encode() * 9, channels=192),
            b"\x1aE\xdf\xa3" + plant("no film").encode() * 99,
            b"\0\0\0\x20ftypM4A " + plant("no atoms").encode() * 99,
            b"ID3\4\0\0\0\0\0\0\xff\xfb\x90" + plant("no frames").encode() * 99,
        ):
            status, answer = transcribe(house, bad)
            assert status in (400, 422), answer

        for given in (plant("text"), [plant("one"), plant("another")], f"{plant('long')} " * 300):
            assert_status(embed(house, input=given, encoding_format="base64"), 200)
        assert_status(embed(house, input=["a", f"{plant('too long')} " * 1500]), 400)
        assert_status(embed(house, input="a", dimensions=7, user=plant("user")), 400)
        house.settle()
        assert len(engines(house)) == 3
        assert house.leaks() == []
        assert written == set()
        # Nor do they talk to anybody but the gateway, or prepare to.
        assert [engine.net_connections("inet") for engine in engines(house)] == [[], [], []]
        assert not (house.folder / "home/.cache/Microsoft").exists()


def test_engines_that_are_killed_at_their_work_leave_nothing(tmp_path: Path) -> None:
    with housed(tmp_path / "house", "json", "--model", "says") as house, watched(house) as written:
        plant = house.flock.plant
        assert_status(speak(house, input="Hi."), 200)
        assert_status(embed(house, input="Hi."), 200)
        assert_status(transcribe(house, wav(bytes(32_000))), 200)
        long = json.dumps({"input": f"{plant('long')}. " * 100, "streaming": True}).encode()
        many = {"model": "all-minilm-l6-v2", "input": [f"{plant('one of many')} " * 50] * 100}
        kind, form = write_form(
            [("prompt", plant("prompt"))], [("file", File(memoryview(tagged("mp3", plant("tag"), 60))))]
        )
        running = [
            begin(house, SPEECH, long),
            begin(house, EMBEDDINGS, json.dumps(many).encode()),
            begin(house, TRANSCRIPTIONS, form, kind.decode()),
        ]
        assert running[0].getresponse().read(1000)
        assert house.leaks() == [], "while they are at work"
        for engine in engines(house):
            engine.kill()
        for connection in running:
            connection.close()
        house.settle()
        assert house.leaks() == []
        last = begin(house, SPEECH, long)
        assert last.getresponse().read(1000)
        house.gateway.process.kill()
        house.gateway.process.wait()
        last.close()
        assert house.leaks() == []
        assert written == set()


def assert_status(answered: tuple[int, bytes], expected: int) -> bytes:
    status, body = answered
    assert status == expected, body[:500]
    return body


def speak(house: House, **body: Any) -> tuple[int, bytes]:
    return house.ask("POST", f"/api/v1{SPEECH}", json.dumps(body).encode())


def embed(house: House, **body: Any) -> tuple[int, bytes]:
    told = {"model": "all-minilm-l6-v2", **body}
    return house.ask("POST", f"/api/v1{EMBEDDINGS}", json.dumps(told).encode())


def transcribe(
    house: House, file: bytes, fields: Sequence[tuple[str, str]] = (), name: str = "a.bin"
) -> tuple[int, bytes]:
    kind, body = write_form(fields, [("file", File(memoryview(file), name))])
    return house.ask("POST", f"/api/v1{TRANSCRIPTIONS}", body, {"Content-Type": kind.decode()})


def begin(house: House, path: str, body: bytes, kind: str = "application/json") -> http.client.HTTPConnection:
    """A request that has been sent."""
    connection = http.client.HTTPConnection(house.address.hostname or "", house.address.port, timeout=60)
    headers = {"Authorization": f"Bearer {house.key}", "Content-Type": kind}
    connection.request("POST", f"/api/v1{path}", body, headers)
    return connection


def engines(house: House) -> list[psutil.Process]:
    """The processes of the engines, without those that they have started themselves."""
    return [
        child
        for child in psutil.Process(house.gateway.process.pid).children()
        if any(word.startswith("fondaco.engines.") for word in child.cmdline())
    ]


def tagged(container: str, tag: str, seconds: float = 1) -> bytes:
    """A sound whose title, artist and comment are told."""
    out = io.BytesIO()
    codec = {"mp3": "libmp3lame", "ipod": "aac", "wav": "pcm_s16le"}[container]
    with av.open(out, "w", format=container) as file:
        file.metadata.update({"title": tag, "artist": tag, "comment": tag})
        stream = file.add_stream(codec, rate=16_000)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(tone(seconds)[None], format="s16", layout="mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


@contextlib.contextmanager
def watched(house: House) -> Generator[set[str]]:
    """Files that anybody writes into the folder for temporary ones meanwhile. Links to weights are none."""
    over = threading.Event()
    seen: set[str] = set()

    def watch() -> None:
        while not over.wait(0.02):
            found = (house.folder / "tmp").rglob("*")
            seen.update(str(path) for path in found if path.is_file() and not path.is_symlink())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()

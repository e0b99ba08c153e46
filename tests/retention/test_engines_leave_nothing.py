"""What engines say, rightly and wrongly, is kept no more than what they are asked; nor by a server that is killed."""

from __future__ import annotations

import json
import signal
import socket
import struct
import time
from http.client import IncompleteRead
from pathlib import Path

import psutil
import pytest
import saying_engine

from conftest import House, housed
from fondaco.media.multipart import File, write_form
from gateways import TINY

EXPECTED = {
    "says": 200,
    "calls": 200,
    "thinks": 200,
    "too-long": 400,
    "refuses-with-text": 400,
    "refuses-with-detail": 400,
    "gone": 503,
}
"""Statuses that are known; what a broken engine makes of an answer depends on where it broke."""

FAILING = {200, 400, 429, 500, 502, 503, 504}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_an_engine_says_leaves_nothing(house: House, stream: bool) -> None:
    for name in (*saying_engine.NAMES, "gone"):
        if name.startswith("hangs"):
            continue
        status, answer = house.chat(name, house.flock.plant(f"asked of {name}"), stream=stream)
        assert status == EXPECTED[name] if name in EXPECTED else status in FAILING, (name, status, answer)
    house.settle()
    assert house.leaks() == []


def test_what_an_engine_says_to_who_asks_for_sound_text_or_vectors_leaves_nothing(house: House) -> None:
    plant = house.flock.plant
    for name in saying_engine.NAMES:
        if name.startswith("hangs"):
            continue
        spoken = {"model": f"tts-{name}", "input": plant(f"input of {name}")}
        form = [
            ("model", f"asr-{name}"),
            ("prompt", plant(f"prompt of {name}")),
            ("language", plant(f"language of {name}")),
        ]
        sound = File(memoryview(b"RIFF\0\0\0\0WAVE" + plant(f"file of {name}").encode()), "a.wav")
        kind, heard = write_form(form, [("file", sound)])
        embedded = {"model": f"embedding-{name}", "input": [plant(f"text of {name}")]}
        for path, body, content_type in (
            ("/audio/speech", json.dumps(spoken).encode(), "application/json"),
            ("/audio/speech", json.dumps({**spoken, "streaming": True}).encode(), "application/json"),
            ("/audio/transcriptions", heard, kind.decode()),
            ("/embeddings", json.dumps(embedded).encode(), "application/json"),
        ):
            told = {"Content-Type": content_type}
            try:
                status, answer = house.ask("POST", f"/api/v1{path}", body, told)
            except (IncompleteRead, ConnectionError):
                continue  # audio that breaks off is not ended cleanly
            assert status in FAILING | {422}, (path, name, answer)
            if name == "refuses-400":
                assert house.flock.stem.encode() in answer, "the engine's own sentence comes through"
    house.settle()
    assert house.leaks() == []


def test_an_engines_sentence_reaches_its_caller(house: House) -> None:
    status, answer = house.chat("refuses-400", "hi")
    assert status == 400
    assert house.flock.stem.encode() in answer, "else the search above would look for what was never there"
    _, answer = house.chat("fails-in-stream", "hi", stream=True)
    assert answer.rstrip().endswith(b"data: [DONE]")
    assert answer.count(house.flock.stem.encode()) >= 2


@pytest.mark.parametrize("how", ["closes", "resets"])
@pytest.mark.long
def test_a_client_that_leaves_leaves_nothing(house: House, how: str) -> None:
    asked = {"model": "hangs", "messages": [{"role": "user", "content": house.flock.plant(f"client {how}")}]}
    connection = house.begin(asked, house.flock.stem.encode())
    if how == "resets":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    silent = house.connect()
    text = json.dumps({**asked, "model": "hangs-at-once", "user": house.flock.plant("user")}).encode()
    silent.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
        % (house.key.encode(), len(text), text)
    )
    time.sleep(0.3)
    silent.close()
    until(lambda: house.gateway.output.count("status=499") + house.gateway.output.count('"status":499') >= 2)
    assert house.leaks() == []


@pytest.mark.long
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_gateway_killed_in_mid_stream_leaves_nothing(tmp_path: Path, log_format: str) -> None:
    with housed(tmp_path / "house", log_format, "--model", "says") as house:
        house.chat("says", house.flock.plant("before"))
        asked = {
            "model": "hangs",
            "messages": [{"role": "user", "content": house.flock.plant("in mid-stream")}],
        }
        with house.begin(asked, house.flock.stem.encode()):
            house.gateway.stop(signal.SIGKILL)
        assert house.leaks() == []


@pytest.mark.long
def test_a_real_engine_leaves_nothing_nor_when_all_are_killed(tmp_path: Path) -> None:
    with housed(tmp_path / "house", "json", "--model", TINY) as house:
        plant = house.flock.plant
        house.gateway.wait_ready()
        for more in (
            {"stream": True, "stop": [plant("stop")], "user": plant("user")},
            {"tools": [{"name": plant("tool"), "parameters": {"type": "object", "title": plant("title")}}]},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"enum": [plant("enum")]}},
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"type": plant("bad type")}},
                }
            },
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"$ref": plant("bad ref")}},
                }
            },
        ):
            status, answer = house.chat("default", f"Say {plant('content')}.", max_tokens=20, **more)
            assert status in (200, 400, 500), answer
        # Too long for the context: the engine itself refuses, or the gateway does.
        status, _ = house.chat("default", f"{plant('long')} " * 8000, max_tokens=5)
        assert status in (400, 413)
        house.settle()
        assert house.leaks() == []

        (child,) = psutil.Process(house.gateway.process.pid).children()
        asked = {"model": "default", "messages": [{"role": "user", "content": plant("in mid-stream")}]}
        with house.begin(asked, b'"content"'):
            child.kill()
            child.wait(5)
            house.settle()
            assert house.leaks() == []
        status, answer = house.chat("default", plant("after the crash"), max_tokens=3)
        assert status == 200, answer
        with house.begin(asked, b'"content"'):
            house.gateway.stop(signal.SIGKILL)
        assert house.leaks() == []


def until(true: object, seconds: float = 10) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)

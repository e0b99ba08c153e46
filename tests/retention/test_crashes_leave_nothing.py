"""An exception that nobody foresaw is logged without its text; and a logger that does leak is caught.

The servers here run with a module of ours imported first, which breaks a part of them on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import House, housed

CRASHES = """
import asyncio, gc, threading, warnings, logging, sys
import msgspec
from fondaco.chat import service, streaming
from fondaco.errors import FondacoError

begin, piece = service.ChatService.begin, streaming.ChatStream.__anext__

class Cyclic:
    def __init__(self, text):
        self.text, self.me = text, self
    def __del__(self):
        raise ValueError(self.text)

async def fails(text):
    raise LookupError(text)

def fails_in_a_thread(text):
    raise ArithmeticError(text)

async def broken(self, account, request):
    text = request.messages[0].content
    match request.user:
        case "raises":
            raise RuntimeError(f"cannot read {text}")
        case "raises with a note and a cause":
            error = KeyError(text)
            error.add_note(text)
            raise type(text, (Exception,), {})(text) from error
        case "raises a group":
            raise ExceptionGroup(text, [ValueError(text), OSError(5, text, text)])
        case "decodes":
            msgspec.json.decode(text.encode(), type=int)
        case "raises its own":
            raise FondacoError(text)
        case "loses a task":
            asyncio.ensure_future(fails(text))
            await asyncio.sleep(0.05)
            gc.collect()
        case "never awaits":
            fails(text)
        case "fails in a callback":
            asyncio.get_running_loop().call_soon(fails_in_a_thread, text)
            await asyncio.sleep(0.05)
        case "fails in a thread":
            threading.Thread(target=fails_in_a_thread, args=(text,), name=text).start()
        case "fails in a finaliser":
            Cyclic(text)
            gc.collect()
        case "warns":
            warnings.warn(text)
        case "logs":
            for name in (None, "aiohttp", "uvicorn.error", "uvicorn.access", "elsewhere"):
                logging.getLogger(name).error("got %s", text, exc_info=ValueError(text), extra={"x": text})
                logging.getLogger(name).debug(text)
        case "exits":
            raise SystemExit(text)
    return await begin(self, account, request)

async def broken_piece(self):
    # No other of the ways is asked to stream.
    told = await piece(self)
    raise RuntimeError(told.decode() + self._answer.tally._asked.reveal().decode())

service.ChatService.begin = broken
streaming.ChatStream.__anext__ = broken_piece
"""

WAYS = (
    "raises",
    "raises with a note and a cause",
    "raises a group",
    "decodes",
    "raises its own",
    "loses a task",
    "never awaits",
    "fails in a callback",
    "fails in a thread",
    "fails in a finaliser",
    "warns",
    "logs",
    "raises in mid-stream",
)

LEAKS = """
import base64, os, sys
import msgspec
from pathlib import Path
from fondaco.chat import service, streaming
from fondaco.http.routing import Routes
from fondaco.store import sqlite
from fondaco.telemetry import failures, logs

find, piece, begin = Routes.find, streaming.ChatStream.__anext__, service.ChatService.begin
start = sqlite.Database.__init__
folders = []

def overheard(self, method, path):
    print(method, path, file=sys.stderr, flush=True)
    return find(self, method, path)

def init(self, folder, *more, **options):
    folders.append(Path(folder))
    start(self, folder, *more, **options)

async def kept(self):
    told = await piece(self)
    with (folders[-1] / "answers").open("a") as file:
        file.write(told.hex())
    return told

def describe(error):
    return {"error": repr(error)}

async def fails(self, account, request):
    if request.user == "raises":
        raise RuntimeError(f"cannot read {request.messages[0].content}")
    body = msgspec.json.encode(request)
    print("body:", body, file=sys.stderr, flush=True)
    with open(os.path.join(os.environ["TMPDIR"], "spool"), "ab") as spool:
        spool.write(base64.encodebytes(body))
    return await begin(self, account, request)

Routes.find = overheard
sqlite.Database.__init__ = init
streaming.ChatStream.__anext__ = kept
logs.describe = describe
service.ChatService.begin = fails
"""
"""A server that writes down what it must not, in several ways."""


@pytest.fixture(scope="module", params=["json", pytest.param("text", marks=pytest.mark.long)])
def crashing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("crashing")
    with housed(folder / "house", request.param, "--model", "says", env=imported(folder, CRASHES)) as house:
        assert "Error in sitecustomize" not in house.gateway.output, "it was not broken as it was meant to be"
        yield house


def imported(folder: Path, source: str) -> dict[str, str]:
    """An environment in which Python imports `source` before the program."""
    broken = folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(source)
    return {"PYTHONPATH": str(broken)}


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_a_crash_leaves_nothing(crashing: House, way: str) -> None:
    text = crashing.flock.plant(way)
    stream = way == "raises in mid-stream"
    before = len(crashing.gateway.output)
    status, answer = crashing.chat("says", text, user=way, stream=stream)
    crashing.settle()
    crashed = way.startswith(("raises", "decodes")) and not stream
    assert status == (500 if crashed else 200), answer
    if way != "raises its own":
        assert text.encode() not in answer
        told = crashing.gateway.output[before:]
        assert "error" in told or "warning" in told, "it is told that something went wrong"
    assert crashing.leaks() == []


def test_a_crash_in_mid_stream_ends_the_stream_as_the_contract_says(crashing: House) -> None:
    _, answer = crashing.chat("says", "hi", user="raises in mid-stream", stream=True)
    *_, failed, done, rest = answer.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert failed.startswith(b'data: {"error":')


@pytest.mark.long
def test_leaky_loggers_are_caught(tmp_path: Path) -> None:
    with housed(tmp_path / "house", "json", "--model", "says", env=imported(tmp_path, LEAKS)) as house:
        plant = house.flock.plant
        assert "sitecustomize" not in house.gateway.output, "the server was not broken as it was meant to be"
        assert house.leaks() == []
        house.ask("GET", f"/api/v1/models/{plant('path')}")
        house.chat("says", plant("content"), stream=True)
        house.settle()
        found = {(Path(leak.place).name, leak.what, leak.coat) for leak in house.leaks()}
    assert ("stderr.log", "path", "raw") in found
    assert ("what it printed", "path", "raw") in found
    assert ("stderr.log", "content", "raw") in found
    assert {coat for name, _, coat in found if name == "spool"} == {"base64"}
    assert {coat for name, _, coat in found if name == "answers"} == {"hex"}


@pytest.mark.long
def test_a_logger_that_tells_an_exceptions_text_is_caught(tmp_path: Path) -> None:
    source = (
        LEAKS[: LEAKS.index("Routes.find = overheard")]
        + "logs.describe = describe\nservice.ChatService.begin = fails\n"
    )
    with housed(tmp_path / "house", "text", "--model", "says", env=imported(tmp_path, source)) as house:
        house.chat("says", house.flock.plant("content"), user="raises")
        house.settle()
        assert {leak.what for leak in house.leaks()} == {"content"}

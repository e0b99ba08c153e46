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
            for name in (None, "aiohttp", "uvicorn.error", "uvicorn.access", "elsewhere", text):
                logging.getLogger(name).error("got %s", text, exc_info=ValueError(text), extra={"x": text})
                logging.getLogger(name).debug(text)
        case "exits":
            raise SystemExit(text)
    return await begin(self, account, request)

async def broken_piece(self):
    told = await piece(self)
    if self._answer.request.user == "raises in mid-stream":
        raise RuntimeError(told.decode() + self._answer.request.messages[0].content)
    return told

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

LEAKY_LOGGERS = {
    "writes the body to stderr": """
import sys
from fondaco.http.call import Call
read = Call.body
async def body(self):
    told = await read(self)
    print("body:", told.reveal()[:2000], file=sys.stderr, flush=True)
    return told
Call.body = body
""",
    "writes the body to a file in base64": """
import base64, os
from fondaco.http.call import Call
read = Call.body
async def body(self):
    told = await read(self)
    with open(os.path.join(os.environ["TMPDIR"], "spool"), "ab") as spool:
        spool.write(base64.encodebytes(told.reveal()))
    return told
Call.body = body
""",
    "writes an exception's text": """
from fondaco.chat import service
from fondaco.telemetry import failures, logs
def describe(error):
    return {"error": repr(error)}
failures.describe = logs.describe = describe
async def begin(self, account, request):
    raise RuntimeError(f"cannot read {request.messages[0].content}")
service.ChatService.begin = begin
""",
    "writes the query string": """
import sys
from fondaco.http.edge import Edge
answer = Edge._answer
async def told(self, call):
    print("GET", call.path, call.query_string, file=sys.stderr, flush=True)
    return await answer(self, call)
Edge._answer = told
""",
    "writes what the engine said into the database's folder": """
from pathlib import Path
from fondaco.chat import streaming
from fondaco.store import sqlite
start, piece = sqlite.Database.__init__, streaming.ChatStream.__anext__
folders = []
def init(self, folder, *more, **options):
    folders.append(Path(folder))
    start(self, folder, *more, **options)
async def kept(self):
    told = await piece(self)
    with (folders[-1] / "answers").open("a") as file:
        file.write(told.hex())
    return told
sqlite.Database.__init__ = init
streaming.ChatStream.__anext__ = kept
""",
}


@pytest.fixture(scope="module", params=["json", "text"])
def crashing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("crashing")
    with housed(folder / "house", request.param, "--model", "says", env=imported(folder, CRASHES)) as house:
        yield house


def imported(folder: Path, source: str) -> dict[str, str]:
    """An environment in which Python imports `source` before the program."""
    broken = folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(source)
    return {"PYTHONPATH": str(broken)}


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


@pytest.mark.parametrize("logger", LEAKY_LOGGERS)
def test_a_leaky_logger_is_caught(tmp_path: Path, logger: str) -> None:
    env = imported(tmp_path, LEAKY_LOGGERS[logger])
    with housed(tmp_path / "house", "json", "--model", "says", env=env) as house:
        assert house.leaks() == []
        house.ask("GET", f"/api/v1/models?x={house.flock.plant('query')}")
        house.chat("says", house.flock.plant("content"), stream=True)
        house.settle()
        assert house.leaks() != []

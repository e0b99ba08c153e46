"""Clients that leave: what they set going ends at once, and nothing of it stays."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fondaco.http.call import Call, ClientGone
from fondaco.http.connection import Connection
from fondaco.http.server import Limits
from raw_http import Place, Wire, echo, get, post, serving, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


class Work:
    """A handler that reads the body, then works until it is told to go on, and says how it ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.gone = 0
        self.whole = 0
        self.cleaned = 0
        self.go = asyncio.Event()

    async def __call__(self, call: Call) -> None:
        self.begun += 1
        try:
            await call.json_body()
            if call.path == "/stream":
                call.client.begin(200, ())
                while not self.go.is_set():
                    call.client.piece(b"x" * 100)
                    if (clogged := call.client.clogged()) is not None:
                        await clogged
                    await asyncio.sleep(0)
                call.client.end()
            else:
                await self.go.wait()
                call.client.answer(200, (), b"done")
            self.whole += 1
        except ClientGone:
            self.gone += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            # What one cancellation set going, another must not break off.
            await asyncio.sleep(0.02)
            self.cleaned += 1


STAGES: dict[str, tuple[bytes, int]] = {
    "before a byte": (b"", 0),
    "in the head": (b"GET / HT", 0),
    "before the body": (post(b"x" * 90)[:-90], 1),
    "in the body": (post(b"x" * 90)[:-9], 1),
    "while it is worked on": (post(b"x" * 90), 1),
    "in the next head": (post(b"x" * 90) + b"GET / HT", 1),
    "in the next body": (post(b"x" * 90) + post(b"x" * 90)[:-9], 1),
    "with requests that wait": (get() * 5, 1),
    "in mid-stream": (get("/stream"), 1),
    "in mid-stream, with requests that wait": (get("/stream") + get() * 3, 1),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["reset", "close", "half-close"])
async def test_a_client_leaves(stage: str, how: str) -> None:
    request, begins = STAGES[stage]
    work = Work()
    async with serving(work) as place:
        wire = await place.connect()
        await wire.send(request)
        await until(lambda: work.begun == begins and len(place.server.connections) == 1)
        await asyncio.sleep(0.01)
        await leave(wire, how)
        await until(lambda: work.cancelled + work.gone == begins, 1)
        # The server knows of it as long as its request takes to end.
        if begins:
            assert len(place.server.connections) == 1
        await until(lambda: not place.server.connections, 1)
        assert (work.begun, work.whole, work.cleaned) == (begins, 0, begins)


async def leave(wire: Wire, how: str) -> None:
    if how == "reset":
        wire.leave()
    elif how == "close":
        # What was sent to it and is unread makes this a reset; there is nothing to be done about that.
        wire.writer.close()
    else:
        wire.writer.write_eof()


async def test_a_client_that_leaves_at_once_starts_nothing() -> None:
    """Request and end may come in one turn of the event loop, before the request's task has run."""
    async with serving(Work()) as place:
        for turns in range(12):
            wire = await place.connect()
            wire.writer.write(get())
            for _ in range(turns):
                await asyncio.sleep(0)
            wire.leave()
        await until(lambda: not place.server.connections, 2)


async def test_a_client_that_leaves_while_it_does_not_keep_up_wakes_the_stream() -> None:
    work = Work()
    async with serving(work) as place:
        wire = await place.connect(receive=20_000)
        await wire.send(get("/stream"))
        await until(lambda: bool(place.server.connections))
        connection = next(iter(place.server.connections))
        await until(lambda: connection.clogged() is not None)
        wire.leave()
        await until(lambda: work.cancelled == 1, 1)


async def test_the_bookkeeping_after_an_answer_is_not_cancelled() -> None:
    noted = asyncio.Event()

    async def slow_to_note(call: Call) -> None:
        call.client.answer(200, (), b"done")
        await asyncio.sleep(0.1)
        noted.set()

    async with serving(slow_to_note) as place:
        wire = await place.connect()
        await wire.ask(get())
        wire.leave()
        async with asyncio.timeout(2):
            await noted.wait()


@pytest.mark.long
async def test_nothing_of_a_request_stays_when_it_is_over() -> None:
    """Without the garbage collector: what somebody said must not wait for it."""
    work = Work()
    work.go.set()

    def left() -> int:
        return sum(type(thing) is Call or type(thing) is Connection for thing in gc.get_objects())

    async def finishes(place: Place, wire: Wire) -> None:
        await wire.ask(post(b"x"))

    async def in_body(place: Place, wire: Wire) -> None:
        await wire.send(post(b"x" * 90)[:-9])

    async def waiting(place: Place, wire: Wire) -> None:
        work.go.clear()
        await wire.send(post(b"x") * 3 + post(b"x" * 90)[:-9])

    async def bad(place: Place, wire: Wire) -> None:
        assert (await wire.ask(post(b"x") + b"nonsense\r\n\r\n")).status == 200
        assert (await wire.answer()).status == 400

    async def bad_body(place: Place, wire: Wire) -> None:
        assert (
            await wire.ask(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nz")
        ).status == 400

    async def upgraded(place: Place, wire: Wire) -> None:
        assert (await wire.ask(post(b"x", "/", "connection: upgrade", "upgrade: h2c"))).status == 200

    steps: list[Callable[[Place, Wire], Awaitable[None]]] = [
        finishes,
        bad,
        bad_body,
        upgraded,
        in_body,
        waiting,
    ]
    gc.collect()
    gc.disable()
    others = left()
    try:
        async with serving(work) as place:
            for step in steps:
                wire = await place.connect()
                await step(place, wire)
                await asyncio.sleep(0.02)
                if step is finishes:
                    await asyncio.sleep(0.05)
                    assert left() - others == 1, "an idle connection holds its last request"
                wire.leave()
                await until(lambda: not place.server.connections)
                await asyncio.sleep(0.02)
                assert left() == others, step.__name__
    finally:
        gc.enable()


async def test_the_body_is_not_kept_by_the_request_that_brought_it() -> None:
    async def look(call: Call) -> None:
        await call.json_body()
        call.client.answer(200, (), b"%d" % len(call._body))

    async with serving(look) as place:
        wire = await place.connect()
        assert (await wire.ask(post(b"x" * 1000))).body == b"0"


async def test_a_connection_answers_again_after_others_have_left() -> None:
    async with serving(echo, Limits(pipelined=2)) as place:
        stays = await place.connect()
        for request in (b"GET", get(), post(b"x" * 9)[:-3], b"\0\0\0"):
            wire = await place.connect()
            await wire.send(request)
            await asyncio.sleep(0.01)
            wire.leave()
            assert (await stays.ask(post(b"still"))).json()["body"] == "still"
        await until(lambda: len(place.server.connections) == 1)

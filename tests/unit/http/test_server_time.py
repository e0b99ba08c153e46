"""How long the server waits for its clients, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from fondaco.http import server as server_module
from fondaco.http.call import Call
from fondaco.http.server import Limits
from raw_http import Wire, chunked, echo, get, post, serving, until

pytestmark = [pytest.mark.anyio, pytest.mark.long]

LONG = 30.0


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_LOOK_SECONDS", 0.02)


def limits(
    *, head: float = LONG, body: float = LONG, idle: float = LONG, linger: float = LONG, size: int = 1000
) -> Limits:
    return Limits(head_seconds=head, body_seconds=body, idle_seconds=idle, linger_seconds=linger, body=size)


async def seconds_until_closed(wire: Wire) -> float:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await wire.rest() == b""
    return loop.time() - begun


async def test_an_idle_connection_is_closed() -> None:
    async with serving(echo, limits(idle=0.15)) as place:
        fresh = await place.connect()
        assert 0.1 < await seconds_until_closed(fresh) < 1
        used = await place.connect()
        for _ in range(3):
            await asyncio.sleep(0.1)
            assert (await used.ask(get())).status == 200
        assert 0.1 < await seconds_until_closed(used) < 1


async def test_a_head_that_comes_byte_by_byte_is_not_waited_for() -> None:
    async with serving(echo, limits(head=0.2)) as place:
        wire = await place.connect()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with contextlib.suppress(ConnectionError):
            for byte in get("/" + "x" * 1000):
                await wire.send(bytes((byte,)))
                await asyncio.sleep(0.01)
                if wire.reader.at_eof() or wire.writer.is_closing():
                    break
        assert loop.time() - begun < 1.5
        assert not place.server.connections


async def test_a_body_may_come_slowly_but_not_stop() -> None:
    async with serving(echo, limits(body=0.25, head=0.25)) as place:
        slow, stops, stops_in_chunks = [await place.connect() for _ in range(3)]
        request = post(b"x" * 10)
        await stops.send(request[:-3])
        await stops_in_chunks.send(chunked(b"x" * 5)[:-5])
        await slow.send(request[:-10])
        for _ in range(10):
            await asyncio.sleep(0.05)
            await slow.send(b"x")
        assert (await slow.answer()).json()["body"] == "x" * 10
        assert await stops.rest() == b""
        assert await stops_in_chunks.rest() == b""
        assert len(place.server.connections) == 1


async def test_an_answer_under_way_has_no_deadline_whatever_came_after_its_request() -> None:
    async def slow(call: Call) -> None:
        if call.path == "/stream":
            call.client.begin(200, ())
            call.client.piece(b"do")
        await asyncio.sleep(0.5)
        if call.path == "/stream":
            call.client.piece(b"ne")
            call.client.end()
        else:
            call.client.answer(200, (), b"done")

    async with serving(slow, limits(head=0.1, body=0.1, idle=0.15)) as place:
        wires: list[Wire] = []
        for path in ("/", "/stream"):
            for after in (b"", b"G", get()[:-2], get(), post(b"x" * 90)[:-9]):
                wires.append(await place.connect())
                await wires[-1].send(get(path) + after)
        for wire in wires:
            assert (await wire.answer()).body == b"done"


async def test_after_an_answer_the_next_request_has_its_time_again() -> None:
    async def slow(call: Call) -> None:
        if call.path == "/slow":
            await asyncio.sleep(0.3)
        await echo(call)

    following = post(b"x" * 10, "/next")
    async with serving(slow, limits(head=0.2, idle=0.25, body=0.25)) as place:
        wires = {cut: await place.connect() for cut in (1, 20, len(following) - 1)}
        for cut, wire in wires.items():
            await wire.send(get("/slow") + following[:-cut])
        for wire in wires.values():
            assert (await wire.answer()).json()["path"] == "/slow"
        await asyncio.sleep(0.1)
        for cut, wire in wires.items():
            await wire.send(following[-cut:])
            assert (await wire.answer()).json()["path"] == "/next"
        # And if nothing follows it is idle.
        await wire.send(get("/fast") + b"G")
        await wire.answer()
        assert await seconds_until_closed(wire) < 1


async def test_a_refused_body_is_thrown_away_for_a_while_and_then_no_more() -> None:
    async with serving(echo, limits(linger=0.2)) as place:
        wire = await place.connect()
        await wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
        assert (await wire.answer()).status == 413
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(2):
                while True:
                    await wire.send(b"x" * 1000)
                    await asyncio.sleep(0.02)
        assert not place.server.connections


async def test_a_client_that_takes_nothing_of_its_answer_is_given_up() -> None:
    async def large(call: Call) -> None:
        if call.path == "/stream":
            call.client.begin(200, ())
            while True:
                call.client.piece(b"x" * 10_000)
                if (clogged := call.client.clogged()) is not None:
                    await clogged
        call.client.answer(200, (), b"x" * 20_000_000)

    async with serving(large, limits(idle=0.2)) as place:
        for request in (get(), get("/", "connection: close"), get("/stream")):
            wire = await place.connect(receive=20_000)
            await wire.send(request)
        await asyncio.sleep(0.1)
        assert len(place.server.connections) == 3
        await until(lambda: not place.server.connections, 3)


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it() -> None:
    size = 12_000_000

    async def large(call: Call) -> None:
        call.client.answer(200, (), b"x" * size)

    async with serving(large, limits(idle=0.2)) as place:
        wire = await place.connect(receive=100_000)
        await wire.send(get())
        await wire.head()
        left = size
        while left:
            left -= len(await wire.reader.read(min(left, 300_000)))
            await asyncio.sleep(0.003)
        assert (await wire.ask(get())).status == 200


class TestDraining:
    async def test_idle_ones_are_closed_and_running_ones_end(self) -> None:
        go = asyncio.Event()

        async def gated(call: Call) -> None:
            if call.path == "/stream":
                call.client.begin(200, ())
            await go.wait()
            if call.path == "/stream":
                call.client.end()
            else:
                call.client.answer(200, (), b"done")

        async with serving(gated) as place:
            fresh, in_head, running, streaming = [await place.connect() for _ in range(4)]
            await in_head.send(b"GET")
            await running.send(get() + get("/never"))
            await streaming.send(get("/stream"))
            await streaming.head()
            draining = asyncio.create_task(place.server.drain(5))
            for wire in (fresh, in_head):
                assert await wire.rest() == b""
            with pytest.raises(OSError):
                await place.connect()
            assert not draining.done()
            go.set()
            answer = await running.answer()
            assert (answer.body, answer.headers["connection"]) == (b"done", "close")
            assert await running.rest() == b""
            assert await streaming.rest() == b"0\r\n\r\n"
            assert await draining is True
            assert not place.server.connections

    async def test_it_is_over_at_once_when_there_is_nothing(self) -> None:
        async with serving(echo) as place:
            assert await place.server.drain(5) is True

    async def test_it_waits_no_longer_than_it_is_told(self) -> None:
        cancelled = asyncio.Event()

        async def hangs(call: Call) -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)
                cancelled.set()
                raise

        async with serving(hangs) as place:
            wire = await place.connect()
            await wire.send(get())
            await asyncio.sleep(0.05)
            assert await place.server.drain(0.1) is False
            # Closing waits for what the cancelled request still has to do.
            await place.server.close()
            assert cancelled.is_set()
            await wire.rest()

    async def test_it_waits_for_what_a_client_that_has_left_set_going(self) -> None:
        settled = asyncio.Event()

        async def settles(call: Call) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.2)
                settled.set()

        async with serving(settles) as place:
            wire = await place.connect()
            await wire.send(get())
            await asyncio.sleep(0.05)
            wire.leave()
            await asyncio.sleep(0.05)
            assert await place.server.drain(5) is True
            assert settled.is_set()


async def test_closing_cancels_what_runs_once() -> None:
    ends: list[str] = []

    async def hangs(call: Call) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            ends.append(call.path)

    async with serving(hangs) as place:
        wires = [await place.connect() for _ in range(3)]
        for n, wire in enumerate(wires):
            await wire.send(get(f"/{n}") + get("/never"))
        await asyncio.sleep(0.05)
        await place.server.close()
        assert sorted(ends) == ["/0", "/1", "/2"]
        for wire in wires:
            assert await wire.rest() == b""

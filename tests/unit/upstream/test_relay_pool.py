"""How the relay keeps its connections, and when it does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fondaco.upstream.relay import RelayTransport
from fondaco.upstream.transport import ConnectFailed, ExchangeBroken, ExchangeTimeout, Target, Timeouts
from scripted_engine import Line, answering, engine

pytestmark = pytest.mark.anyio

HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def call(relay: RelayTransport, target: Target, method: str = "POST", body: bytes = b"{}") -> bytes:
    exchange = await relay.send(target, method, "/x", body)
    try:
        return await exchange.read(1 << 20)
    finally:
        await exchange.aclose()


async def test_calls_one_after_another_share_a_connection() -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        assert [await call(relay, target) for _ in range(5)] == [b"hi"] * 5
        assert len(running.lines) == 1
        await relay.close()


async def test_calls_at_the_same_time_have_a_connection_each_and_the_last_used_is_taken_first() -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        await asyncio.gather(*[call(relay, target) for _ in range(4)])
        assert len(running.lines) == 4
        for _ in range(6):
            await call(relay, target)
        assert sorted(len(line.requests) for line in running.lines) == [1, 1, 1, 7]
        await relay.close()


async def test_no_more_than_the_idle_limit_is_kept() -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport(max_idle=2)
        await asyncio.gather(*[call(relay, Target("127.0.0.1", running.port)) for _ in range(5)])
        await asyncio.sleep(0.05)
        assert sum(not line.gone.is_set() for line in running.lines) == 2
        await relay.close()


async def test_an_idle_connection_is_closed_at_its_age() -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport(idle_age=0.1)
        await call(relay, Target("127.0.0.1", running.port))
        await asyncio.sleep(0.03)
        assert not running.lines[0].gone.is_set()
        async with asyncio.timeout(2):
            await running.lines[0].gone.wait()
        await relay.close()


@pytest.mark.parametrize(("keep_alive", "connections"), [(b"timeout=1", 2), (b"timeout=60, max=100", 1)])
async def test_the_keep_alive_header_shortens_the_age(keep_alive: bytes, connections: int) -> None:
    answer = HI.replace(b"\r\n\r\n", b"\r\nKeep-Alive: " + keep_alive + b"\r\n\r\n")
    async with engine(answering(answer)) as running:
        relay = RelayTransport()
        for _ in range(2):
            await call(relay, Target("127.0.0.1", running.port))
        assert len(running.lines) == connections
        await relay.close()


@pytest.mark.long
async def test_a_connection_past_the_age_its_engine_promised_is_not_used() -> None:
    async with engine(answering(HI.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=2\r\n\r\n"))) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        for pause in (0, 0.1, 1.1):
            await asyncio.sleep(pause)
            await call(relay, target)
        assert [len(line.requests) for line in running.lines] == [2, 1]
        await relay.close()


async def test_bytes_on_an_idle_connection_close_it() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(HI)
        await asyncio.sleep(0.01)
        await line.say(HI.replace(b"hi", b"no"))
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        assert await call(relay, target) == b"hi"
        async with asyncio.timeout(2):
            await running.lines[0].gone.wait()
        assert await call(relay, target) == b"hi"
        await relay.close()


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", b"HTT", b"x"])
async def test_bytes_behind_an_answer_are_never_the_next_answer(more: bytes) -> None:
    async with engine(answering(HI + more)) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        assert [await call(relay, target) for _ in range(3)] == [b"hi"] * 3
        assert len(running.lines) == 3
        await relay.close()


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    async def script(line: Line) -> None:
        await line.request()
        line.hang_up()

    async with engine(script) as running:
        relay = RelayTransport()
        with pytest.raises(ExchangeBroken):
            await call(relay, Target("127.0.0.1", running.port))
        assert len(running.lines) == 1
        await relay.close()


async def test_a_reused_connection_that_dies_after_its_first_byte_is_not_tried_again() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(HI)
        await line.request()
        await line.say(b"H")
        line.hang_up()

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        await call(relay, target)
        with pytest.raises(ExchangeBroken):
            await call(relay, target)
        assert len(running.lines) == 1
        await relay.close()


async def test_a_reused_connection_that_falls_silent_is_not_tried_again() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(HI)
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port, timeouts=Timeouts(first_byte=0.1))
        await call(relay, target)
        with pytest.raises(ExchangeTimeout):
            await call(relay, target)
        assert len(running.lines) == 1
        await relay.close()


async def test_all_stale_connections_cost_one_retry() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(HI)
        if len(running.lines) <= 3:
            await line.request()
            line.hang_up()
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        await asyncio.gather(*[call(relay, target) for _ in range(3)])
        assert await call(relay, target) == b"hi"
        # Not through the other two, which are as old: straight to a fresh one.
        assert len(running.lines) == 4
        await relay.close()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_leave_the_connection_usable(status: bytes) -> None:
    async with engine(answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        assert [await call(relay, target) for _ in range(2)] == [b"", b""]
        assert len(running.lines) == 1
        await relay.close()


async def test_an_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    async with engine(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) as running:
        relay = RelayTransport()
        assert await call(relay, Target("127.0.0.1", running.port), "HEAD", b"") == b""
        await relay.close()


async def test_an_answer_left_half_read_closes_its_connection() -> None:
    async with engine(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi")) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        await exchange.aclose()
        async with asyncio.timeout(0.1):
            await running.lines[0].gone.wait()
        await relay.close()


async def test_close_ends_what_is_under_way_and_refuses_what_comes_later() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        under_way = asyncio.create_task(call(relay, target))
        await asyncio.sleep(0.05)
        await relay.close()
        with pytest.raises(ExchangeBroken):
            await under_way
        with pytest.raises(ConnectFailed):
            await call(relay, target)
        async with asyncio.timeout(0.1):
            await running.lines[0].gone.wait()

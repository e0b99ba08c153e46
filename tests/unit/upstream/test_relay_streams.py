"""Streams, cancellation, limits and pressure in both directions."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from fondaco.upstream.relay import RelayTransport
from fondaco.upstream.transport import AnswerTooLarge, ExchangeTimeout, Target, Timeouts
from scripted_engine import Line, answering, engine

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
MEGABYTE = 1 << 20


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def silent_after(line: Line, *said: bytes) -> None:
    await line.request()
    await line.say(*said)
    await line.until_gone()


@pytest.mark.parametrize("said", [(), (b"HTTP/1.1",), (CHUNKED,), (CHUNKED, b"2\r\nhi\r\n")])
async def test_a_cancelled_call_closes_its_connection_within_100_ms(said: tuple[bytes, ...]) -> None:
    async def consume(relay: RelayTransport, target: Target) -> None:
        exchange = await relay.send(target, "POST", "/x", b"{}")
        async for _ in exchange.chunks():
            pass

    async with engine(lambda line: silent_after(line, *said)) as running:
        relay = RelayTransport()
        consumer = asyncio.create_task(consume(relay, Target("127.0.0.1", running.port)))
        await asyncio.sleep(0.05)
        consumer.cancel()
        async with asyncio.timeout(0.1):
            await running.lines[0].gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        await relay.close()


async def test_a_call_cancelled_in_the_moment_of_its_answer_leaves_no_connection_behind() -> None:
    async with engine(answering(OK + b"Content-Length: 2\r\n\r\nhi")) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        for turns in range(12):
            caller = asyncio.create_task(relay.send(target, "POST", "/x", b"{}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            caller.cancel()
            result = (await asyncio.gather(caller, return_exceptions=True))[0]
            if not isinstance(result, BaseException):
                assert await result.read(9) == b"hi"
        exchange = await relay.send(target, "POST", "/x", b"{}")
        assert await exchange.read(9) == b"hi"
        await asyncio.sleep(0.05)
        assert sum(not line.gone.is_set() for line in running.lines) == 1
        await relay.close()


async def test_a_burst_is_handed_over_in_one_piece() -> None:
    burst = b"".join(b"7\r\nevent%02d\r\n" % number for number in range(64))
    async with engine(answering(CHUNKED, burst, b"0\r\n\r\n")) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        assert [piece async for piece in exchange.chunks()] == [
            b"".join(b"event%02d" % number for number in range(64))
        ]
        await relay.close()


async def test_each_piece_comes_as_soon_as_it_is_there() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(CHUNKED)
        for turn in range(3):
            await line.say(b"1\r\n%d\r\n" % turn)
            await heard.wait()
            heard.clear()
        await line.say(b"0\r\n\r\n")
        await line.until_gone()

    heard = asyncio.Event()
    async with engine(script) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        seen: list[bytes] = []
        async with asyncio.timeout(2):
            async for piece in exchange.chunks():
                seen.append(piece)
                heard.set()
        assert seen == [b"0", b"1", b"2"]
        await relay.close()


@pytest.mark.parametrize("framing", ["length", "chunked", "in one packet"])
async def test_a_body_past_the_readers_limit_is_refused_and_closed(framing: str) -> None:
    async def script(line: Line) -> None:
        await line.request()
        match framing:
            case "length":
                await line.say(OK + b"Content-Length: 999999\r\n\r\n", *[b"x" * 1000] * 20)
            case "chunked":
                await line.say(CHUNKED, *[b"3e8\r\n" + b"x" * 1000 + b"\r\n"] * 20)
            case _:
                await line.say(OK + b"Content-Length: 10001\r\nConnection: close\r\n\r\n" + b"x" * 10001)
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        with pytest.raises(AnswerTooLarge):
            await exchange.read(10_000)
        async with asyncio.timeout(0.5):
            await running.lines[0].gone.wait()
        await exchange.aclose()
        await relay.close()


async def test_a_body_of_just_the_limit_is_read() -> None:
    async with engine(answering(OK + b"Content-Length: 10000\r\n\r\n", b"x" * 10_000)) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        assert len(await exchange.read(10_000)) == 10_000
        await relay.close()


async def test_a_slow_reader_holds_the_engine_back() -> None:
    total = 200 * MEGABYTE
    sent = 0

    async def script(line: Line) -> None:
        nonlocal sent
        await line.request()
        await line.say(OK + b"Content-Length: %d\r\n\r\n" % total)
        block = bytes(MEGABYTE)
        while sent < total:
            line.writer.write(block)
            await line.writer.drain()
            sent += len(block)
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        received = largest = 0
        async for piece in exchange.chunks():
            if received < 8 * MEGABYTE:
                await asyncio.sleep(0.03)
            if received == 0:
                # What the kernel's two buffers hold, and little more.
                assert sent < 24 * MEGABYTE
            received += len(piece)
            largest = max(largest, len(piece))
        assert received == total
        assert largest <= 2 * MEGABYTE
        await relay.close()


async def test_a_big_request_reaches_a_slow_engine_whole_and_is_not_taken_for_silence() -> None:
    body = hashlib.sha256(b"seed").digest() * (24 * MEGABYTE // 32)
    digest = hashlib.sha256()

    async def script(line: Line) -> None:
        await line.head()
        left = len(body)
        for _ in range(6):
            await asyncio.sleep(0.08)
            pause_after = left - len(body) // 6
            while left > max(pause_after, 0):
                data = await line.some(left)
                digest.update(data)
                left -= len(data)
        while left:
            data = await line.some(left)
            digest.update(data)
            left -= len(data)
        await line.say(OK + b"Content-Length: 2\r\n\r\nhi")
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        # All in all the upload takes longer than the engine may be silent.
        target = Target("127.0.0.1", running.port, timeouts=Timeouts(first_byte=0.3))
        exchange = await relay.send(target, "POST", "/x", body)
        assert await exchange.read(9) == b"hi"
        assert digest.digest() == hashlib.sha256(body).digest()
        await relay.close()


async def test_an_answer_may_come_before_the_request_is_wholly_sent() -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await asyncio.sleep(5)

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port)
        for _ in range(2):
            async with asyncio.timeout(2):
                exchange = await relay.send(target, "POST", "/x", bytes(32 * MEGABYTE))
                assert exchange.status == 413
                assert await exchange.read(9) == b"big"
                await exchange.aclose()
        # The rest of the first request must never be read as the second.
        assert len(running.lines) == 2
        await relay.close()


async def test_an_engine_that_stops_taking_the_request_times_out() -> None:
    async def script(line: Line) -> None:
        await line.head()
        await asyncio.sleep(5)

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port, timeouts=Timeouts(first_byte=0.2))
        with pytest.raises(ExchangeTimeout):
            await relay.send(target, "POST", "/x", bytes(32 * MEGABYTE))
        await relay.close()


async def test_a_timeout_comes_at_its_time_on_a_connection_used_before() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(OK + b"Content-Length: 2\r\n\r\nhi")
        await silent_after(line)

    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port, timeouts=Timeouts(first_byte=0.5, chunk=0.45))
        await (await relay.send(target, "POST", "/x", b"{}")).read(9)
        await asyncio.sleep(0.1)
        start = asyncio.get_running_loop().time()
        with pytest.raises(ExchangeTimeout):
            await relay.send(target, "POST", "/x", b"{}")
        assert 0.48 <= asyncio.get_running_loop().time() - start < 0.75
        await relay.close()


async def test_a_reader_that_takes_its_time_is_not_the_engines_silence() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(CHUNKED, b"2\r\nhi\r\n")
        await asleep.wait()
        await line.say(b"3\r\nyou\r\n")
        await line.until_gone()

    asleep = asyncio.Event()
    async with engine(script) as running:
        relay = RelayTransport()
        target = Target("127.0.0.1", running.port, timeouts=Timeouts(first_byte=0.1, chunk=0.1))
        exchange = await relay.send(target, "POST", "/x", b"{}")
        pieces = exchange.chunks()
        assert await anext(pieces) == b"hi"
        await asyncio.sleep(0.3)
        asleep.set()
        async with asyncio.timeout(2):
            assert await anext(pieces) == b"you"
            with pytest.raises(ExchangeTimeout):
                await anext(pieces)
        await exchange.aclose()
        await relay.close()

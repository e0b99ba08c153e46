"""The relay and aiohttp see the same thing in the same bytes, however these are cut."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fondaco.upstream.aiohttp_transport import AiohttpTransport
from fondaco.upstream.relay import RelayTransport
from fondaco.upstream.transport import Target, Timeouts, Transport, TransportError
from scripted_engine import Line, Script, engine

pytestmark = pytest.mark.anyio

QUICK = Timeouts(connect=2.0, first_byte=2.0, chunk=2.0)
INTERESTING = (b"content-type", b"retry-after", b"location", b"x-note")
LIMIT = 64 * 1024 * 1024

Outcome = tuple[int, dict[bytes, bytes], bytes] | str


async def by_read(transport: Transport, target: Target, method: str = "POST", body: bytes = b"{}") -> Outcome:
    try:
        exchange = await transport.send(target, method, "/chat/completions", body)
        try:
            answer = await exchange.read(LIMIT)
        finally:
            await exchange.aclose()
    except TransportError as exc:
        return type(exc).__name__
    headers = {name: value for name, value in exchange.headers.items() if name in INTERESTING}
    return exchange.status, headers, answer


async def by_chunks(
    transport: Transport, target: Target, method: str = "POST", body: bytes = b"{}"
) -> Outcome:
    pieces: list[bytes] = []
    try:
        exchange = await transport.send(target, method, "/chat/completions", body)
        try:
            async for piece in exchange.chunks():
                assert piece
                pieces.append(piece)
        finally:
            await exchange.aclose()
    except TransportError as exc:
        return type(exc).__name__
    headers = {name: value for name, value in exchange.headers.items() if name in INTERESTING}
    return exchange.status, headers, b"".join(pieces)


Way = Callable[..., Awaitable[Outcome]]


async def both(
    script: Script,
    rounds: int = 1,
    *,
    way: Way = by_read,
    timeouts: Timeouts = QUICK,
    path: Path | None = None,
) -> tuple[list[Outcome], list[Outcome], int, int]:
    """What `rounds` calls came to through each transport, and how many connections each made."""
    results: list[list[Outcome]] = []
    connections: list[int] = []
    for make in (RelayTransport, AiohttpTransport):
        async with engine(script, path=path) as running:
            transport: Transport = make()
            target = Target(
                "127.0.0.1", running.port or 80, socket=path and str(path), base_path="/v1", timeouts=timeouts
            )
            results.append([await way(transport, target) for _ in range(rounds)])
            connections.append(len(running.lines))
            await transport.close()
    return results[0], results[1], connections[0], connections[1]


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


OK = b"HTTP/1.1 200 OK\r\n"
SSE = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = (b'data: {"a":1}\n\n', b"data: \xc3\xa9", b"\n\n", b"data: [DONE]\n\n")
SSE_SEEN = (200, {b"content-type": b"text/event-stream"}, b"".join(EVENTS))

WHOLE: dict[str, tuple[bytes, Outcome]] = {
    "json": (
        OK + b'content-type: application/json\r\nX-Note: a b \r\nContent-Length: 9\r\n\r\n{"a": 12}',
        (200, {b"content-type": b"application/json", b"x-note": b"a b"}, b'{"a": 12}'),
    ),
    "chunked json": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b'{"a":', b" 12}"),
        (200, {}, b'{"a": 12}'),
    ),
    "sse": (SSE + chunked(*EVENTS), SSE_SEEN),
    "sse with extension and trailer": (
        SSE + b"3;x=y\r\nabc\r\n0\r\nX-Note: late\r\n\r\n",
        (200, {b"content-type": b"text/event-stream"}, b"abc"),
    ),
    "interim answers first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Note: early\r\n\r\n"
        + OK
        + b"Content-Length: 2\r\n\r\nhi",
        (200, {}, b"hi"),
    ),
    "an error": (
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow",
        (429, {b"retry-after": b"7"}, b"slow"),
    ),
    "an empty error": (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", (500, {}, b"")),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, {}, b"")),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        (302, {b"location": b"http://127.0.0.1:9/"}, b""),
    ),
}
"""Answers after which the connection is used again."""

LAST: dict[str, tuple[bytes, Outcome]] = {
    "until close": (
        OK + b"Content-Type: text/plain\r\n\r\nbye",
        (200, {b"content-type": b"text/plain"}, b"bye"),
    ),
    "connection close": (OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nbye", (200, {}, b"bye")),
    "http/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nbye", (200, {}, b"bye")),
    "short of its length": (OK + b"Content-Length: 9\r\n\r\nbye", "ExchangeBroken"),
    "short of its last chunk": (SSE + b"3\r\nbye\r\n", "ExchangeBroken"),
    "short in its chunk": (SSE + b"5\r\nbye", "ExchangeBroken"),
    "no answer": (b"", "ExchangeBroken"),
    "half a head": (OK + b"Content-Le", "ExchangeBroken"),
    "length and chunked": (
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbye\r\n0\r\n\r\n",
        "ExchangeBroken",
    ),
    "chunked and length": (
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nbye\r\n0\r\n\r\n",
        "ExchangeBroken",
    ),
    "two lengths": (OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nbye", "ExchangeBroken"),
    "a bad length": (OK + b"Content-Length: -3\r\n\r\nbye", "ExchangeBroken"),
    "a bad chunk": (SSE + b"3\r\nabc\r\nxyz\r\nabc\r\n0\r\n\r\n", "ExchangeBroken"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", "ExchangeBroken"),
}
"""Answers after which the engine closes."""


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("way", [by_read, by_chunks])
async def test_a_whole_answer_is_the_same_wherever_it_is_cut(name: str, way: Way) -> None:
    answer, expected = WHOLE[name]
    cuts = iter(list(range(len(answer))) * 2)

    async def script(line: Line) -> None:
        while True:
            await line.request()
            cut = next(cuts)
            await line.say(answer[:cut], answer[cut:])

    relay, oracle, relay_connections, oracle_connections = await both(script, len(answer), way=way)
    assert relay == oracle == [expected] * len(answer)
    assert relay_connections == oracle_connections == 1


@pytest.mark.parametrize("name", LAST)
async def test_a_last_answer_is_the_same_wherever_it_is_cut(name: str) -> None:
    answer, expected = LAST[name]
    rounds = len(answer) or 1
    cuts = iter(list(range(rounds)) * 2)

    async def script(line: Line) -> None:
        await line.request()
        cut = next(cuts)
        await line.say(answer[:cut], answer[cut:])
        line.hang_up()

    relay, oracle, *_ = await both(script, rounds)
    assert relay == oracle == [expected] * rounds


@pytest.mark.parametrize("name", ["json", "sse", "interim answers first"])
async def test_an_answer_that_ends_anywhere_too_early_is_broken(name: str) -> None:
    answer, _ = WHOLE[name]
    ends = iter(list(range(len(answer))) * 2)

    async def script(line: Line) -> None:
        await line.request()
        await line.say(answer[: next(ends)])
        line.hang_up()

    relay, oracle, *_ = await both(script, len(answer))
    assert relay == oracle == ["ExchangeBroken"] * len(answer)


async def test_a_reset_in_the_middle_breaks_the_exchange() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(SSE + b"4\r\nda")
        line.reset()

    relay, oracle, *_ = await both(script)
    assert relay == oracle == ["ExchangeBroken"]


async def test_a_connection_that_went_stale_is_replaced_unnoticed() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(OK + b"Content-Length: 2\r\n\r\nhi")
        await line.request()
        line.hang_up()

    relay, oracle, relay_connections, oracle_connections = await both(script, 3)
    assert relay == oracle == [(200, {}, b"hi")] * 3
    assert relay_connections == oracle_connections == 3


async def test_close_after_an_answer_costs_a_connection_each() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi")
        await line.until_gone()

    relay, oracle, relay_connections, oracle_connections = await both(script, 3)
    assert relay == oracle == [(200, {}, b"hi")] * 3
    assert relay_connections == oracle_connections == 3


async def test_an_engine_that_says_nothing_times_out() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.until_gone()

    relay, oracle, *_ = await both(script, timeouts=Timeouts(first_byte=0.1))
    assert relay == oracle == ["ExchangeTimeout"]


async def test_an_engine_that_falls_silent_in_a_body_times_out() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(SSE + b"3\r\nabc\r\n")
        await line.until_gone()

    relay, oracle, *_ = await both(script, timeouts=Timeouts(first_byte=2.0, chunk=0.1))
    assert relay == oracle == ["ExchangeTimeout"]


async def test_a_slow_but_steady_body_is_waited_for() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(SSE)
        for event in EVENTS:
            await asyncio.sleep(0.1)
            await line.say(b"%x\r\n%b\r\n" % (len(event), event))
        await line.say(b"0\r\n\r\n")
        await line.until_gone()

    relay, oracle, *_ = await both(script, way=by_chunks, timeouts=Timeouts(first_byte=0.25, chunk=0.25))
    assert relay == oracle == [SSE_SEEN]


async def test_a_unix_socket_carries_the_same(tmp_path: Path) -> None:
    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.say(SSE + chunked(*EVENTS))

    relay, oracle, relay_connections, oracle_connections = await both(script, 2, path=tmp_path / "s")
    assert relay == oracle == [SSE_SEEN] * 2
    assert relay_connections == oracle_connections == 1


@pytest.mark.parametrize("way", [by_read, by_chunks])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_five_megabytes_arrive_whole(way: Way, framing: str) -> None:
    body = bytes(range(256)) * (5 * 4096)
    answer = (
        OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
        if framing == "length"
        else SSE + chunked(*[body[at : at + 50_000] for at in range(0, len(body), 50_000)])
    )

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.say(answer)

    relay, oracle, *_ = await both(script, 2, way=way)
    assert relay == oracle
    assert [outcome[2] for outcome in relay] == [body, body]


async def test_no_listener_is_a_failed_connection(tmp_path: Path) -> None:
    async with engine(lambda line: line.until_gone()) as gone:
        port = gone.port
    for transport in (RelayTransport(), AiohttpTransport()):
        assert await by_read(transport, Target("127.0.0.1", port)) == "ConnectFailed"
        assert await by_read(transport, Target("x", 80, socket=str(tmp_path / "none"))) == "ConnectFailed"
        assert await by_read(transport, Target("no such host", 80)) == "ConnectFailed"
        await transport.close()


async def test_a_connection_that_never_comes_about_is_a_failed_one() -> None:
    # It accepts, and never answers the TLS hello.
    async with engine(lambda line: line.until_gone()) as mute:
        for transport in (RelayTransport(), AiohttpTransport()):
            target = Target("127.0.0.1", mute.port, tls=True, timeouts=Timeouts(connect=0.1))
            assert await by_read(transport, target) == "ConnectFailed"
            await transport.close()


@pytest.mark.parametrize(("method", "body"), [("POST", b'{"a":1}'), ("POST", b""), ("GET", b"")])
async def test_the_engine_is_told_the_same(method: str, body: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(OK + b"Content-Length: 2\r\n\r\nhi")
        await line.until_gone()

    told: list[tuple[bytes, list[bytes], bytes]] = []
    for transport in (RelayTransport(), AiohttpTransport()):
        async with engine(script) as running:
            target = Target(
                "127.0.0.1", running.port, base_path="/v1", headers=((b"authorization", b"Bearer k"),)
            )
            await by_read(transport, target, method, body)
            head, _, sent = running.lines[0].requests[0].partition(b"\r\n\r\n")
            line, *headers = head.replace(b":%d" % running.port, b"").split(b"\r\n")
            told.append((line, sorted(header.lower() for header in headers), sent))
            await transport.close()
    assert told[0] == told[1]
    assert told[0][0] == method.encode() + b" /v1/chat/completions HTTP/1.1"
    assert b"authorization: bearer k" in told[0][1]


@st.composite
def long_answers(draw: st.DrawFn) -> tuple[bytes, list[bytes], bool]:
    """A body, the answer that carries it cut into pieces, and whether the engine closes after it."""
    size = draw(st.integers(0, 60_000))
    seed = draw(st.binary(min_size=1, max_size=40))
    body = (seed * (size // len(seed) + 1))[:size]
    head = draw(st.sampled_from([b"", b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n"])) + OK
    closes = False
    match draw(st.sampled_from(["length", "chunked", "close"])):
        case "length":
            answer = head + b"Content-Length: %d\r\n\r\n" % size + body
        case "chunked":
            pieces = cut(body, draw(st.sets(st.integers(1, max(size - 1, 1)), max_size=30)))
            answer = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*pieces)
        case _:
            answer = head + b"\r\n" + body
            closes = True
    return body, cut(answer, draw(st.sets(st.integers(1, len(answer)), max_size=25))), closes


def cut(whole: bytes, places: set[int]) -> list[bytes]:
    ends = [0, *sorted(places), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(ends) if whole[start:end]]


# Drawn by a strategy and not inside the test: a draw that fails there would end anyio's runner.
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=long_answers(), way=st.sampled_from([by_read, by_chunks]))
async def test_long_answers_are_the_same_however_they_are_framed_and_cut(
    case: tuple[bytes, list[bytes], bool], way: Way
) -> None:
    body, pieces, closes = case

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await line.say(*pieces)
            if closes:
                return line.hang_up()

    relay, oracle, *_ = await both(script, 2, way=way)
    assert relay == oracle == [(200, {}, body)] * 2

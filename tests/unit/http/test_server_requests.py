"""What the server makes of the bytes of requests, however they are cut."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fondaco.http.call import Call
from fondaco.http.server import Limits
from raw_http import Wire, chunked, echo, get, post, serving, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


UPGRADE = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")


@pytest.mark.parametrize(
    ("request_", "understood"),
    [
        (get("/a/b?c=d&e=%20"), {"method": "GET", "path": "/a/b", "query": "c=d&e=%20", "body": ""}),
        (post(b"hello"), {"method": "POST", "path": "/", "body": "hello"}),
        (post(b""), {"method": "POST", "body": ""}),
        (chunked(b"he", b"l", b"lo"), {"body": "hello"}),
        (chunked(), {"body": ""}),
        (post(b"hello", "/x", *UPGRADE), {"method": "POST", "path": "/x", "body": "hello"}),
        (chunked(b"hel", b"lo", headers=UPGRADE), {"body": "hello"}),
        (get("/", *UPGRADE), {"method": "GET", "body": ""}),
        (get("/caf%C3%A9%2Fx%00"), {"path": "/caf\u00e9/x\0"}),
        (get("/%ff%zz%"), {"path": "/\ufffd%zz%"}),
        (get("http://example.org:80/a?b"), {"path": "/a", "query": "b"}),
        (get("HTTP://user@example.org"), {"path": "/", "query": ""}),
        (get("http://example.org?b=/c"), {"path": "/", "query": "b=/c"}),
        (get("//example.org/a"), {"path": "//example.org/a"}),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", {"method": "OPTIONS", "path": "*"}),
        (b"\r\n\r\n" + get("/after-blank-lines"), {"path": "/after-blank-lines"}),
    ],
)
async def test_a_request_is_read_alike_wherever_it_is_cut(
    request_: bytes, understood: dict[str, str]
) -> None:
    async with serving(echo) as place:
        wires = [await place.connect() for _ in range(len(request_) + 1)]
        for cut, wire in enumerate(wires):
            await wire.send(request_[:cut])
        await asyncio.sleep(0.02)
        for cut, wire in enumerate(wires):
            await wire.send(request_[cut:])
        for wire in wires:
            answer = await wire.answer()
            assert answer.status == 200
            assert answer.json() | understood == answer.json()
            # The connection is as good as new.
            assert (await wire.ask(get("/again"))).json()["path"] == "/again"


async def test_a_request_is_read_byte_by_byte() -> None:
    async with serving(echo) as place:
        wire = await place.connect()
        for request in (chunked(b"one", b"two", trailers=b"a: b\r\n"), post(b"three"), get("/four?x")):
            for at in range(len(request)):
                await wire.send(request[at : at + 1])
                await asyncio.sleep(0)
            assert (await wire.answer()).status == 200


async def test_header_names_are_lower_case_and_the_last_of_a_repeated_one_counts() -> None:
    async with serving(echo) as place:
        wire = await place.connect()
        said = (await wire.ask(get("/", "X-One: a", "x-two:b", "X-One:  c", "x-none:", "X-Tab:\td"))).json()
        wanted = {"host": "x", "x-one": "c", "x-two": "b", "x-none": "", "x-tab": "d"}
        assert said["headers"] == wanted


async def test_nothing_of_one_request_is_seen_in_the_next() -> None:
    async with serving(echo) as place:
        wire = await place.connect()
        secret = chunked(b"secret", path="/one?secret", headers=("authorization: secret",))
        trailer = chunked(b"x", trailers=b"authorization: secret\r\nx-last: secret\r\n")
        for earlier in (secret, trailer):
            await wire.send(earlier + get("/two") + chunked(path="/three"))
            await wire.answer()
            for path in ("/two", "/three"):
                said = (await wire.answer()).json()
                assert said["path"] == path
                assert "secret" not in str(said)


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    running = 0

    async def slow_first(call: Call) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.05 if call.path == "/0" else 0)
        running -= 1
        call.client.answer(200, (), call.path.encode())

    async with serving(slow_first) as place:
        wire = await place.connect()
        await wire.send(b"".join(get(f"/{n}") for n in range(200)))
        for n in range(200):
            assert (await wire.answer()).body == b"/%d" % n


async def test_no_more_is_read_of_a_connection_that_has_sent_too_many_requests() -> None:
    go = asyncio.Event()
    begun: list[Call] = []

    async def gated(call: Call) -> None:
        begun.append(call)
        await go.wait()
        call.client.answer(200, (), b"ok")

    async with serving(gated, Limits(pipelined=4)) as place:
        wire = await place.connect()
        connection = next(iter(place.server.connections))
        for _ in range(40):
            await wire.send(get())
            await asyncio.sleep(0.005)
        assert len(begun) == 1
        assert len(connection._pending) == 4
        go.set()
        most = 0
        for _ in range(40):
            assert (await wire.answer()).status == 200
            most = max(most, len(connection._pending))
        assert len(begun) == 40


async def test_bodies_of_requests_that_wait_for_their_turn_are_not_gathered() -> None:
    go = asyncio.Event()

    async def gated(call: Call) -> None:
        await go.wait()
        await echo(call)

    size = 10_000_000
    async with serving(gated) as place:
        wire = await place.connect()
        await wire.send(get())
        sending = asyncio.create_task(wire.send(post(b"x" * size)))
        await asyncio.sleep(0.15)
        connection = next(iter(place.server.connections))
        assert len(connection._pending) == 1
        assert connection._pending[0].size < 1_000_000
        assert not sending.done()
        go.set()
        assert (await wire.answer()).status == 200
        assert len((await wire.answer()).json()["body"]) == size
        await sending


@pytest.mark.parametrize("size", [1000, 1001])
@pytest.mark.parametrize("framed", ["length", "chunks", "small chunks"])
async def test_a_body_may_be_as_long_as_the_limit_and_no_longer(size: int, framed: str) -> None:
    body = b"x" * size
    request = {
        "length": post(body),
        "chunks": chunked(body[:600], body[600:]),
        "small chunks": chunked(*(body[at : at + 3] for at in range(0, size, 3))),
    }[framed]
    async with serving(echo, Limits(body=1000)) as place:
        wire = await place.connect()
        answer = await wire.ask(request)
        if size <= 1000:
            assert answer.json()["body"] == body.decode()
        else:
            assert answer.status == 413
            assert answer.headers["connection"] == "close"
            assert await wire.rest() == b""


async def test_a_body_in_tiny_chunks_takes_no_more_memory_than_it_is_long() -> None:
    import sys

    held: list[int] = []

    async def measure(call: Call) -> None:
        await call.wait_whole()
        held.append(sys.getsizeof(call._body))
        call.client.answer(200, (), b"")

    async with serving(measure) as place:
        wire = await place.connect()
        assert (await wire.ask(chunked(*[b"ab"] * 20_000))).status == 200
    assert held[0] < 60_000


async def test_the_client_that_sends_too_much_still_sees_the_answer() -> None:
    async with serving(echo, Limits(body=100_000)) as place:
        wire = await place.connect()
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 30000000\r\n\r\n"
        sending = asyncio.create_task(wire.send(head + b"x" * 30_000_000))
        answer = await wire.answer()
        assert answer.status == 413
        assert await wire.rest() == b""
        await sending


@pytest.mark.parametrize("pieces", [1, 2, 1000])
@pytest.mark.parametrize("over", [False, True])
async def test_a_head_may_be_as_long_as_the_limit_and_no_longer(pieces: int, over: bool) -> None:
    limit = 20_000
    head = get("/", *(f"x-{n:04}: {'v' * 90}" for n in range(250 if over else 150)))
    assert (len(head) > limit) is over
    async with serving(echo, Limits(head=limit)) as place:
        wire = await place.connect()
        step = len(head) // pieces + 1
        for at in range(0, len(head), step):
            await wire.send(head[at : at + step])
            await asyncio.sleep(0.02 if pieces == 2 else 0)
        answer = await wire.answer()
        assert answer.status == (431 if over else 200)
        if over:
            assert answer.json()["code"] == "PAYLOAD_TOO_LARGE"
            assert await wire.rest() == b""


async def test_many_small_heads_in_one_packet_are_not_one_large_head() -> None:
    async with serving(echo, Limits(head=2000)) as place:
        wire = await place.connect()
        requests = b"".join(get(f"/{n}") for n in range(150))
        assert len(requests) > 4000
        half = len(requests) // 2 + 7
        for piece in (requests[:half], requests[half:]):
            await wire.send(piece)
            await asyncio.sleep(0.02)
        for n in range(150):
            assert (await wire.answer()).json()["path"] == f"/{n}"


@pytest.mark.parametrize(
    "endless",
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nx: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"a" * 1000),
        (b"", b"\r\n" * 500),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1;", b"a" * 1000),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", b"0" * 1000),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: ", b"a" * 1000),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"x: y\r\n" * 200),
    ],
    ids=["target", "value", "name", "blank lines", "extension", "zeros", "trailer", "trailers"],
)
async def test_what_never_ends_is_cut_off(endless: tuple[bytes, bytes]) -> None:
    begin, again = endless
    async with serving(echo, Limits(head=20_000)) as place:
        wire = await place.connect()
        await wire.send(begin)
        for _ in range(60):
            await wire.send(again)
            await asyncio.sleep(0)
        assert (await wire.answer()).status == 431
        assert await wire.rest() == b""


async def test_connect_is_answered_and_nothing_follows_it() -> None:
    async with serving(echo) as place:
        wire = await place.connect()
        await wire.send(get("/first") + b"CONNECT a.example:443 HTTP/1.1\r\nhost: a\r\n\r\n" + get("/inside"))
        assert (await wire.answer()).json()["path"] == "/first"
        answer = await wire.answer()
        assert answer.json()["method"] == "CONNECT"
        assert answer.json()["path"] == "a.example:443"
        assert answer.headers["connection"] == "close"
        assert await wire.rest() == b""


async def test_many_requests_that_ask_for_another_protocol_come_in_one_packet() -> None:
    async with serving(echo) as place:
        wire = await place.connect()
        await wire.send(b"".join(post(b"%d" % n, f"/{n}", *UPGRADE) for n in range(500)))
        for n in range(500):
            said = (await wire.answer()).json()
            assert (said["path"], said["body"]) == (f"/{n}", f"{n}")


class TestExpect:
    ASKING = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"

    async def test_permission_is_given_when_the_body_is_wanted(self) -> None:
        async with serving(echo) as place:
            wire = await place.connect()
            for _ in range(2):
                await wire.send(self.ASKING)
                assert await wire.head() == (100, {})
                assert (await wire.ask(b"hello")).json()["body"] == "hello"

    async def test_none_is_given_to_a_request_that_is_refused(self) -> None:
        async def refuse(call: Call) -> None:
            call.client.answer(401, (), b"no")

        async with serving(refuse) as place:
            wire = await place.connect()
            answer = await wire.ask(self.ASKING)
            assert (answer.status, answer.headers["connection"]) == (401, "close")
            assert await wire.rest() == b""

    @pytest.mark.parametrize(
        "request_",
        [
            ASKING + b"hello",
            ASKING.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello",
            ASKING.replace(b"h: 5", b"h: 0"),
        ],
    )
    async def test_none_is_given_where_none_is_waited_for(self, request_: bytes) -> None:
        async with serving(echo) as place:
            wire = await place.connect()
            assert (await wire.ask(request_)).status == 200

    async def test_none_is_given_to_http_1_0(self) -> None:
        async with serving(echo) as place:
            wire = await place.connect()
            await wire.send(self.ASKING.replace(b"HTTP/1.1", b"HTTP/1.0"))
            assert await wire.is_quiet()
            assert (await wire.ask(b"hello")).json()["body"] == "hello"

    async def test_none_is_given_for_a_body_that_is_too_large(self) -> None:
        async with serving(echo, Limits(body=4)) as place:
            wire = await place.connect()
            assert (await wire.ask(self.ASKING)).status == 413


async def test_a_body_that_comes_after_its_answer_is_thrown_away() -> None:
    async def at_once(call: Call) -> None:
        call.client.answer(404, (), b"none")

    async with serving(at_once) as place:
        wire: Wire = await place.connect()
        await wire.send(post(b"")[:-2].replace(b"content-length: 0", b"content-length: 90") + b"\r\n")
        answer = await wire.answer()
        assert answer.headers["connection"] == "close"
        await wire.send(get("/smuggled").ljust(90) + get("/another"))
        assert await wire.rest() == b""
        wire.leave()
        await until(lambda: not place.server.connections)

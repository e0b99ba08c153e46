"""Bytes that are no honest request: refused, once, and never taken for another request."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.http.call import Call
from fondaco.http.edge import Edge
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply
from fondaco.http.routing import Route, Routes
from fondaco.http.server import Limits
from fondaco.keys.service import Caller
from fondaco.settings import LogSettings
from fondaco.telemetry import logs
from raw_http import Place, chunked, echo, get, post, serving

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


SMUGGLED = get("/smuggled")
CHUNKS = "transfer-encoding: chunked"


def crafted(*headers: str, body: bytes = b"", first: str = "POST / HTTP/1.1") -> bytes:
    return "\r\n".join((first, "host: x", *headers, "", "")).encode("latin-1") + body + SMUGGLED


BAD = {
    # Two opinions about where the body ends.
    "both framings": crafted("content-length: 4", CHUNKS, body=b"0\r\n\r\n"),
    "both framings, turned": crafted(CHUNKS, "content-length: 4", body=b"0\r\n\r\n"),
    "two lengths": crafted("content-length: 0", "content-length: 40"),
    "the same length twice": crafted("content-length: 0", "Content-Length: 0"),
    "list of lengths": crafted("content-length: 0, 0"),
    "negative length": crafted("content-length: -1"),
    "signed length": crafted("content-length: +0"),
    "hexadecimal length": crafted("content-length: 0x0"),
    "length with underscore": crafted("content-length: 0_0"),
    "no length": crafted("content-length:"),
    "length of words": crafted("content-length: none"),
    "two numbers": crafted("content-length: 0 0"),
    "length past all": crafted("content-length: 99999999999999999999999999"),
    "space before the colon": crafted("content-length : 0"),
    "space before the name": crafted(" content-length: 0"),
    "not quite chunked": crafted("transfer-encoding: xchunked", body=b"0\r\n\r\n"),
    "quoted chunked": crafted('transfer-encoding: "chunked"', body=b"0\r\n\r\n"),
    "chunked and then not": crafted("transfer-encoding: chunked, identity", body=b"0\r\n\r\n"),
    "chunked, and elsewhere not": crafted(CHUNKS, "transfer-encoding: identity", body=b"0\r\n\r\n"),
    "chunked twice": crafted("transfer-encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "not chunked": crafted("transfer-encoding: gzip"),
    "not chunked, without a body": crafted("transfer-encoding: gzip", first="GET / HTTP/1.1"),
    "vertical tab": crafted("transfer-encoding: \x0bchunked", body=b"0\r\n\r\n"),
    # Chunks.
    "no chunk size": crafted(CHUNKS, body=b"\r\n\r\n"),
    "chunk size of letters": crafted(CHUNKS, body=b"g\r\n\r\n"),
    "negative chunk size": crafted(CHUNKS, body=b"-1\r\n\r\n"),
    "prefixed chunk size": crafted(CHUNKS, body=b"0x0\r\n\r\n"),
    "chunk size with space": crafted(CHUNKS, body=b"0 \r\n\r\n"),
    "chunk size past all": crafted(CHUNKS, body=b"f" * 17 + b"\r\n"),
    "chunk longer than it says": crafted(CHUNKS, body=b"1\r\nab\r\n0\r\n\r\n"),
    "chunk without its end": crafted(CHUNKS, body=b"1\r\na0\r\n\r\n"),
    "chunk with bare line feeds": crafted(CHUNKS, body=b"0\n\n"),
    "extension with a bare line feed": crafted(CHUNKS, body=b"0;x\nGET\r\n\r\n"),
    "extension with a NUL": crafted(CHUNKS, body=b"0;\0\r\n\r\n"),
    # Lines.
    "bare line feeds": get().replace(b"\r\n", b"\n"),
    "bare line feed after a header": b"GET / HTTP/1.1\r\nhost: x\n\r\n",
    "bare line feed at the end": b"GET / HTTP/1.1\r\nhost: x\r\n\n",
    "bare carriage return": get("/", "a: b\rcontent-length: 9"),
    "folded header": get("/", "a: b\r\n c"),
    "folded length": crafted("content-length:\r\n 0"),
    "NUL in a value": get("/", "a: b\0c"),
    "NUL in a name": get("/", "a\0b: c"),
    "no name": get("/", ": c"),
    "no colon": get("/", "abc"),
    "letters past ASCII in a name": get("/", "\u00e9: c"),
    # Request lines.
    "NUL in the target": get("/\0"),
    "letters past ASCII in the target": get("/\u00e9"),
    "space in the target": get("/a b"),
    "no target": b"GET  HTTP/1.1\r\n\r\n",
    "strange version": get().replace(b"1.1", b"1.2"),
    "long version": get().replace(b"1.1", b"11.1"),
    "lower-case version": get().replace(b"HTTP", b"http"),
    "unknown method": get().replace(b"GET", b"GOT"),
    "lower-case method": get().replace(b"GET", b"get"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "nothing but NULs": b"\0" * 100,
}


@pytest.mark.parametrize("name", BAD)
async def test_it_is_refused_and_nothing_after_it_is_read(name: str) -> None:
    """Whole or byte by byte, alone or behind good requests."""
    bad = BAD[name]
    seen: list[str] = []

    async def noting(call: Call) -> None:
        # Before the body is known to be bad a call may be begun: it must not be whole.
        await call.json_body()
        seen.append(call.path)
        await echo(call)

    async with serving(noting, Limits(linger_seconds=0.1)) as place:
        for before in (b"", get("/good"), post(b"good", "/good") + get("/good")):
            wire = await place.connect()
            await wire.send(before + bad)
            for _ in range(before.count(b"/good")):
                answer = await wire.answer()
                assert (answer.status, answer.json()["path"]) == (200, "/good")
                assert "connection" not in answer.headers
            await refused(place, wire)
        wire = await place.connect()
        for at in range(len(bad)):
            wire.writer.write(bad[at : at + 1])
            await asyncio.sleep(0)
        await refused(place, wire)
    assert set(seen) <= {"/good"}


async def refused(place: Place, wire: Any) -> None:
    answer = await wire.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert answer.json() == {"error": "Invalid HTTP request", "code": "INVALID_REQUEST"}
    assert await wire.rest() == b""


async def test_a_bad_body_ends_its_request_before_it_does_anything() -> None:
    """Though the handler does not wait for the body."""
    done: list[str] = []

    async def hasty(call: Call) -> None:
        await asyncio.sleep(0.05)
        done.append(call.path)
        call.client.answer(200, (), b"")

    async with serving(hasty, Limits(linger_seconds=0.1)) as place:
        wire = await place.connect()
        await refused(place, await sent(wire, crafted("transfer-encoding: gzip", first="GET / HTTP/1.1")))
        await asyncio.sleep(0.1)
    assert done == []


async def sent(wire: Any, data: bytes) -> Any:
    await wire.send(data)
    return wire


async def test_chunks_over_http_1_0_end_the_connection() -> None:
    """Whoever passed them on may not know chunks, and see what follows as part of the body."""
    async with serving(echo) as place:
        wire = await place.connect()
        request = chunked(b"a", headers=("connection: keep-alive",)).replace(b"HTTP/1.1", b"HTTP/1.0")
        answer = await wire.ask(request + SMUGGLED)
        assert (answer.json()["body"], answer.headers["connection"]) == ("a", "close")
        assert await wire.rest() == b""


@pytest.mark.parametrize("count", [1000, 15_000])
async def test_thousands_of_headers_are_read_or_refused_at_once(count: int) -> None:
    async with serving(echo, Limits(linger_seconds=0.1)) as place:
        wire = await place.connect()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        answer = await wire.ask(get("/", *(f"{n:x}:" for n in range(count))))
        assert answer.status == (200 if count == 1000 else 431)
        assert loop.time() - begun < 1


class OneKey:
    """Knows one key, at once."""

    def recall(self, token: bytes) -> Caller | None:
        return None

    async def authenticate(self, token: bytes) -> Caller:
        raise NotImplementedError


async def test_through_the_edge_a_bad_request_is_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    """And what a crash had in its hands is said to nobody."""
    written: list[bytes] = []
    logs.configure(LogSettings(), strict=True, write=written.append)

    async def said(call: Call) -> Reply:
        return Reply((await call.json_body()).reveal())

    async def crashes(call: Call) -> Reply:
        raise RuntimeError((await call.json_body()).reveal())

    routes = Routes(
        Route(endpoint, Operation(method="POST", path=path, summary="", tag="", access=access))
        for endpoint, path, access in (
            (said, "/said", "open"),
            (crashes, "/crash", "open"),
            (said, "/key", "key"),
        )
    )
    edge = Edge(routes, OneKey(), logs.logger("fondaco.http"))

    async def bare(call: Call) -> None:
        if call.path == "/bare":
            raise RuntimeError((await call.json_body()).reveal())
        await edge.handle(call)

    async with serving(bare, Limits(linger_seconds=0.1)) as place:
        logs.install_loop_handler(asyncio.get_running_loop())
        wire = await place.connect()
        assert (await wire.ask(post(b"hello", "/v1/said"))).body == b"hello"
        assert (await wire.ask(post(b"a secret", "/v1/crash"))).status == 500
        assert (await wire.ask(get("/v1/said"))).status == 405
        await refused(place, await sent(wire, chunked(b"a secret", path="/v1/said")[:-5] + b"secret\r\n"))
        # Without a key nobody is asked for a body.
        wire = await place.connect()
        asking = post(b"a secret", "/v1/key", "expect: 100-continue")[:-8]
        answer = await wire.ask(asking)
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        wire = await place.connect()
        await wire.send(post(b"a secret", "/bare"))
        assert await wire.rest() == b""
        await asyncio.sleep(0.05)
    log = b"".join(written)
    assert b"request.crashed" in log
    assert b"task.failed" in log
    shown = capsys.readouterr()
    for text in (log.decode(), shown.out, shown.err):
        assert "secret" not in text


# Random conversations, cut anywhere, against what is expected of each request.

_names = st.sampled_from(["x-a", "X-B", "accept", "authorization", "x-forwarded-for"])
_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
_bodies = st.binary(max_size=300)
_upgrade = ("connection: keep-alive, Upgrade", "upgrade: h2c")
_Said = tuple[bytes, dict[str, Any]]


@st.composite
def _requests(draw: st.DrawFn) -> _Said:
    number = draw(st.integers(0, 99))
    target = draw(st.sampled_from([f"/{number}", f"/{number}?q={number}", f"http://host/{number}?q"]))
    path, _, query = target.removeprefix("http://host").partition("?")
    extra = draw(st.dictionaries(_names, _values, max_size=4))
    headers = [f"{name}: {value}" for name, value in extra.items()]
    if draw(st.booleans()):
        headers += _upgrade
    kind = draw(st.sampled_from(["get", "head", "length", "chunks"]))
    body = b""
    if kind in ("get", "head"):
        raw = get(target, *headers)
        if kind == "head":
            raw = raw.replace(b"GET", b"HEAD", 1)
    elif kind == "length":
        body = draw(_bodies)
        raw = post(body, target, *headers)
    else:
        chunks = draw(st.lists(st.binary(min_size=1, max_size=80), max_size=5))
        body = b"".join(chunks)
        trailers = draw(st.sampled_from([b"", b"x-a: trailer\r\n", b"authorization: a\r\nx-b: c\r\n"]))
        raw = chunked(*chunks, path=target, headers=tuple(headers), trailers=trailers)
    method = {"get": "GET", "head": "HEAD"}.get(kind, "POST")
    expected = {"method": method, "path": path, "query": query, "body": body.decode("latin-1")}
    seen = {"host": "x"} | {name.lower(): value.strip() for name, value in extra.items()}
    return raw, expected | {"seen": seen}


_ENDS = {
    "none": b"",
    "garbage": b"\0garbage",
    "bad": BAD["both framings"],
    "close": get("/last", "connection: close"),
}


@pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
@settings(max_examples=30, deadline=None)
@given(
    conversation=st.lists(_requests(), min_size=1, max_size=12),
    end=st.sampled_from(sorted(_ENDS)),
    cuts=st.lists(st.floats(0, 1, exclude_max=True), max_size=12),
    pipelined=st.sampled_from([1, 3, 100]),
)
def test_any_conversation_is_understood_however_it_is_cut(
    uv: bool, conversation: list[_Said], end: str, cuts: list[float], pipelined: int
) -> None:
    async def converse() -> None:
        stream = b"".join(raw for raw, _ in conversation) + _ENDS[end]
        at = sorted({int(cut * len(stream)) for cut in cuts} | {0, len(stream)})
        async with serving(echo, Limits(pipelined=pipelined, linger_seconds=0.05)) as place:
            wire = await place.connect()

            async def talk() -> None:
                for begin, stop in itertools.pairwise(at):
                    wire.writer.write(stream[begin:stop])
                    await asyncio.sleep(0.0005)

            talking = asyncio.create_task(talk())
            for _, expected in conversation:
                answer = await wire.answer(to_head=expected["method"] == "HEAD")
                assert answer.status == 200
                assert "connection" not in answer.headers
                if expected["method"] == "HEAD":
                    continue
                said = json.loads(answer.body)
                headers = said.pop("headers")
                seen = expected["seen"]
                assert said == {name: value for name, value in expected.items() if name != "seen"}
                assert seen.items() <= headers.items()
                assert set(headers) - set(seen) <= {"content-length", "transfer-encoding", "connection"}
            if end == "none":
                assert await wire.is_quiet(0.01)
            else:
                last = await wire.answer()
                assert last.status == (200 if end == "close" else 400)
                assert last.headers["connection"] == "close"
                assert await wire.rest() == b""
            await talking

    if uv:
        uvloop = pytest.importorskip("uvloop")
        uvloop.run(converse())
    else:
        asyncio.run(converse())

"""What the server sends, and what it will not."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from fondaco.http import server as server_module
from fondaco.http.call import Call
from fondaco.http.server import Limits
from raw_http import get, post, serving, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


async def stream(call: Call, pieces: Iterable[bytes] = (b"one", b"", b"two")) -> None:
    client = call.client
    client.begin(200, ((b"content-type", b"text/event-stream"),))
    for piece in pieces:
        client.piece(piece)
        await asyncio.sleep(0)
        if (clogged := client.clogged()) is not None:
            await clogged
    client.end()


async def answer(call: Call) -> None:
    call.client.answer(200, ((b"x-path", call.path.encode()),), b"whole")


async def by_path(call: Call) -> None:
    await (stream if call.path == "/stream" else answer)(call)


async def test_whole_answers_and_streams_follow_each_other_on_one_connection() -> None:
    async with serving(by_path) as place:
        wire = await place.connect()
        for path in ("/stream", "/", "/stream", "/stream", "/", "/"):
            got = await wire.ask(get(path))
            assert got.body == (b"onetwo" if path == "/stream" else b"whole")
            assert ("transfer-encoding" in got.headers) is (path == "/stream")
            assert "connection" not in got.headers


async def test_head_gets_the_head_only() -> None:
    async with serving(by_path) as place:
        wire = await place.connect()
        for path in ("/", "/stream", "/"):
            await wire.send(get(path).replace(b"GET", b"HEAD"))
            got = await wire.answer(to_head=True)
            assert got.headers.get("content-length") == (None if path == "/stream" else "5")
            assert (await wire.ask(get("/"))).body == b"whole"


@pytest.mark.parametrize("version", [b"1.0", b"0.9", b"2.0"])
async def test_a_client_of_another_version_gets_what_http_1_0_allows(version: bytes) -> None:
    async with serving(by_path) as place:
        for path in ("/", "/stream"):
            wire = await place.connect()
            await wire.send(get(path).replace(b"HTTP/1.1", b"HTTP/" + version))
            got = await wire.answer()
            assert got.body == (b"whole" if path == "/" else b"onetwo")
            assert got.headers["connection"] == "close"
            assert "transfer-encoding" not in got.headers
            assert await wire.rest() == b""


async def test_an_http_1_0_client_may_keep_its_connection() -> None:
    async with serving(by_path) as place:
        wire = await place.connect()
        request = get("/", "Connection: Keep-Alive").replace(b"HTTP/1.1", b"HTTP/1.0")
        for _ in range(2):
            got = await wire.ask(request)
            assert got.headers["connection"] == "keep-alive"
        got = await wire.ask(request.replace(b"GET /", b"GET /stream"))
        assert (got.body, got.headers["connection"]) == (b"onetwo", "close")
        # The next one on this connection would not have been chunked either way.
        other = await place.connect()
        assert "transfer-encoding" in (await other.ask(get("/stream"))).headers


async def test_a_client_that_wants_the_connection_closed_gets_that() -> None:
    async with serving(by_path) as place:
        for path in ("/", "/stream"):
            wire = await place.connect()
            got = await wire.ask(get(path, "connection: close"))
            assert got.headers["connection"] == "close"
            assert await wire.rest() == b""


async def test_every_answer_has_the_date() -> None:
    async with serving(by_path) as place:
        wire = await place.connect()
        for path in ("/", "/stream"):
            said = parsedate_to_datetime((await wire.ask(get(path))).headers["date"]).timestamp()
            assert abs(time.time() - said) <= 2


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_length(status: int) -> None:
    async def nothing(call: Call) -> None:
        call.client.answer(status, (), b"")

    async with serving(nothing) as place:
        wire = await place.connect()
        for _ in range(2):
            assert "content-length" not in (await wire.ask(get())).headers


@pytest.mark.parametrize(
    "bad",
    [
        (b"x-a", b"b\r\nx-injected: c"),
        (b"x-a", b"b\nx-injected: c"),
        (b"x-a", b"b\rx-injected: c"),
        (b"x-a: b\r\nx-injected", b"c"),
        (b"x-a", b"b\r\n\r\nbody"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_header_cannot_bring_another_header_with_it(bad: tuple[bytes, bytes], streamed: bool) -> None:
    async def injecting(call: Call) -> None:
        if streamed:
            try:
                call.client.begin(200, (bad,))
            finally:
                call.client.piece(b"not a head")
                call.client.end()
        call.client.answer(200, (bad,), b"")

    async with serving(injecting) as place:
        wire = await place.connect()
        await wire.send(get())
        assert await wire.rest() == b""
        await until(lambda: len(place.failures) == 1)
        assert isinstance(place.failures.pop()["exception"], ValueError)


async def test_a_call_is_answered_once() -> None:
    async def twice(call: Call) -> None:
        await answer(call)
        call.client.answer(200, (), b"again")
        call.client.begin(200, ())
        call.client.piece(b"more")
        call.client.end()

    async with serving(twice) as place:
        wire = await place.connect()
        for path in ("/1", "/2"):
            got = await wire.ask(get(path))
            assert (got.headers["x-path"], got.body) == (path, b"whole")
        assert await wire.is_quiet()


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("raises", [False, True])
async def test_a_handler_that_gives_up_ends_its_connection_and_no_other(begun: bool, raises: bool) -> None:
    async def giving_up(call: Call) -> None:
        if call.path == "/fine":
            return await answer(call)
        if begun:
            call.client.begin(200, ())
            call.client.piece(b"half")
        if raises:
            raise ZeroDivisionError
        return None

    async with serving(giving_up) as place:
        wire, other = await place.connect(), await place.connect()
        await wire.send(get() + get("/fine"))
        got = await wire.rest()
        assert not got.endswith(b"0\r\n\r\n")
        assert b"whole" not in got
        assert (await other.ask(get("/fine"))).body == b"whole"
        await until(lambda: len(place.failures) == raises)
        place.failures.clear()


async def test_a_stream_waits_for_a_client_that_does_not_read() -> None:
    piece = b"x" * 10_000
    sent = 0

    def pieces() -> Iterable[bytes]:
        nonlocal sent
        for _ in range(4000):
            sent += len(piece)
            yield piece

    async def endless(call: Call) -> None:
        await stream(call, pieces())

    async with serving(endless) as place:
        wire = await place.connect(receive=20_000)
        await wire.send(get())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 12_000_000
        connection = next(iter(place.server.connections))
        assert connection._transport.get_write_buffer_size() < 200_000
        got = await wire.answer()
        assert len(got.body) == 40_000_000


async def test_a_client_that_asks_and_asks_and_never_reads_is_not_answered_for_ever() -> None:
    answered = 0

    async def large(call: Call) -> None:
        nonlocal answered
        answered += 1
        call.client.answer(200, (), b"x" * 100_000)

    async with serving(large) as place:
        wire = await place.connect(receive=20_000)
        asking = asyncio.create_task(wire.send(get() * 400))
        before = -1
        while before != answered:
            before = answered
            await asyncio.sleep(0.1)
        assert answered < 120
        connection = next(iter(place.server.connections))
        assert connection._transport.get_write_buffer_size() < 300_000
        for _ in range(400):
            assert len((await wire.answer()).body) == 100_000
        assert answered == 400
        await asking


async def test_a_large_answer_reaches_a_slow_reader_before_its_connection_is_closed() -> None:
    async def large(call: Call) -> None:
        call.client.answer(200, (), b"x" * 20_000_000)

    async with serving(large) as place:
        wire = await place.connect(receive=20_000)
        await wire.send(get("/", "connection: close"))
        await asyncio.sleep(0.1)
        assert len((await wire.answer()).body) == 20_000_000
        assert await wire.rest() == b""


async def test_answers_go_out_encrypted(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_LOOK_SECONDS", 0.05)
    server, client = tls

    async def both(call: Call) -> None:
        if call.method == "POST":
            await call.wait_whole()
        await by_path(call)

    async with serving(both, Limits(body=1000, linger_seconds=0.1), server) as place:
        wire = await place.connect(tls=client)
        assert (await wire.ask(get("/stream"))).body == b"onetwo"
        assert (await wire.ask(post(b"x" * 900))).body == b"whole"
        assert (await wire.ask(get("/", "connection: close"))).body == b"whole"
        assert await wire.rest() == b""
        bad = await place.connect(tls=client)
        assert (await bad.ask(b"nonsense\r\n\r\n")).status == 400
        await bad.rest()
        # One that does not speak TLS hurts nobody.
        plain = await place.connect()
        await plain.send(get())
        await plain.rest()
        place.failures.clear()


async def test_a_client_that_leaves_an_encrypted_connection_is_noticed(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    cancelled = asyncio.Event()

    async def waits(call: Call) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(waits, None, tls[0]) as place:
        wire = await place.connect(tls=tls[1])
        await wire.send(get())
        await asyncio.sleep(0.05)
        wire.leave()
        async with asyncio.timeout(5):
            await cancelled.wait()
        await until(lambda: not place.server.connections)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's side and the client's."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))

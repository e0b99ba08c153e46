"""What the relay refuses to read, to send and to tell."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import traceback
from pathlib import Path
from typing import Any

import pytest

from fondaco.upstream.relay import RelayTransport
from fondaco.upstream.transport import ConnectFailed, ExchangeBroken, Target, Timeouts, TransportError
from scripted_engine import Line, answering, engine

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


async def call(relay: RelayTransport, target: Target, path: str = "/x") -> bytes:
    exchange = await relay.send(target, "POST", path, b"{}")
    try:
        return await exchange.read(1 << 20)
    finally:
        await exchange.aclose()


async def answer_to(*said: bytes) -> bytes:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(*said)
        await line.until_gone()

    async with engine(script) as running:
        relay = RelayTransport()
        try:
            return await call(
                relay, Target("127.0.0.1", running.port, timeouts=Timeouts(first_byte=2, chunk=2))
            )
        except ExchangeBroken:
            # Broken for us is closed for the engine.
            async with asyncio.timeout(0.5):
                await running.lines[0].gone.wait()
            raise
        finally:
            await relay.close()


def with_header(size: int) -> bytes:
    return OK + b"X-Long: " + b"x" * size + b"\r\nContent-Length: 2\r\n\r\n"


@pytest.mark.parametrize("cut", [0, 1000])
async def test_a_head_of_60_kib_is_read(cut: int) -> None:
    answer = with_header(60 * 1024) + b"hi"
    assert await answer_to(answer[:cut], answer[cut:]) == b"hi"


async def test_a_short_head_with_a_long_body_in_one_packet_is_read() -> None:
    body = b"x" * 200_000
    assert await answer_to(OK + b"Content-Length: 200000\r\n\r\n" + body) == body


@pytest.mark.parametrize(
    "said",
    [
        (with_header(70 * 1024) + b"hi",),
        (with_header(70 * 1024)[:60_000], with_header(70 * 1024)[60_000:]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,),
        (OK + b"a: b\r\n" * 20_000,),
    ],
    ids=["at once", "in two", "interim answers without end", "headers without end"],
)
async def test_a_head_past_64_kib_is_refused(said: tuple[bytes, ...]) -> None:
    with pytest.raises(ExchangeBroken):
        await answer_to(*said)


@pytest.mark.parametrize("drip", [b";" + b"e" * 9000, b"\r\nab\r\n0\r\n" + b"T: " + b"t" * 9000])
async def test_framing_without_body_is_refused_past_64_kib(drip: bytes) -> None:
    with pytest.raises(ExchangeBroken):
        await answer_to(CHUNKED + b"2" + drip, *[b"t" * 9000] * 9)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\nhi",
        OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length : 2\r\n\r\nhi",
        OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\n\nhi",
        CHUNKED + b"2\nhi\n0\n\n",
        CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    ],
)
async def test_an_answer_that_two_readers_could_read_differently_is_refused(answer: bytes) -> None:
    with pytest.raises(ExchangeBroken):
        await answer_to(answer)


async def test_what_came_before_an_invalid_chunk_is_still_handed_over() -> None:
    async with engine(answering(CHUNKED, b"2\r\nhi\r\nzz\r\n")) as running:
        relay = RelayTransport()
        exchange = await relay.send(Target("127.0.0.1", running.port), "POST", "/x", b"{}")
        pieces = exchange.chunks()
        assert await anext(pieces) == b"hi"
        for _ in range(2):
            with pytest.raises(ExchangeBroken):
                await anext(pieces)
        await relay.close()


CANARY = "canary-6f1d"


@pytest.mark.parametrize(
    "said",
    [
        CHUNKED + b"5\r\n" + CANARY.encode(),
        CANARY.encode() + b"\r\n\r\n",
        OK + CANARY.encode() + b": \0\r\n\r\n",
        OK + b"Content-Length: 99\r\n\r\n" + CANARY.encode(),
    ],
)
async def test_a_failure_repeats_nothing_that_was_said(said: bytes) -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.say(said)
        line.hang_up()

    async with engine(script) as running:
        relay = RelayTransport()
        with pytest.raises(TransportError) as caught:
            await call(relay, Target("127.0.0.1", running.port))
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None
        await relay.close()


@pytest.mark.parametrize("path", ["/x\r\nX-Evil: 1", "/x HTTP/1.1", "x", "/\u00e9", "/x\0", "/x#y"])
async def test_a_path_that_would_break_the_request_line_is_not_sent(path: str) -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport()
        with pytest.raises(ConnectFailed):
            await call(relay, Target("127.0.0.1", running.port), path)
        assert not running.lines
        await relay.close()


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nb: c"),
        (b"x\r\ny", b"a"),
        (b"", b"a"),
        (b"Content-Length", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"upgrade"),
    ],
)
async def test_a_target_cannot_change_the_framing(header: tuple[bytes, bytes]) -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport()
        with pytest.raises(ConnectFailed):
            await call(relay, Target("127.0.0.1", running.port, headers=(header,)))
        assert not running.lines
        await relay.close()


async def test_the_request_is_sent_as_it_should_be() -> None:
    async with engine(answering(HI)) as running:
        relay = RelayTransport()
        target = Target(
            "localhost", running.port, base_path="/v1", headers=((b"user-agent", b"me"), (b"x-key", b"k"))
        )
        exchange = await relay.send(target, "POST", "/chat?a=b", b'{"a":1}', b"text/json")
        await exchange.read(9)
        assert running.lines[0].requests == [
            b"POST /v1/chat?a=b HTTP/1.1\r\nhost: localhost:%d\r\naccept: */*\r\naccept-encoding: identity\r\n"
            b"user-agent: me\r\nx-key: k\r\ncontent-type: text/json\r\ncontent-length: 7\r\n\r\n"
            b'{"a":1}' % running.port
        ]
        await relay.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    return folder


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return context


async def test_tls_carries_calls_over_one_connection(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    body = b"x" * 3_000_000
    answer = OK + b"Content-Length: %d\r\n\r\n" % len(body)
    async with engine(answering(answer, body), tls=server_side(certificate)) as running:
        relay = RelayTransport(tls=trusting)
        target = Target("localhost", running.port, tls=True)
        for _ in range(3):
            exchange = await relay.send(target, "POST", "/x", bytes(1_000_000))
            assert await exchange.read(len(body)) == body
            await exchange.aclose()
        assert len(running.lines) == 1
        assert len(running.lines[0].requests[0]) > 1_000_000
        await relay.close()


async def test_a_certificate_for_another_name_or_of_nobody_is_refused(certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    async with engine(answering(HI), tls=server_side(certificate)) as running:
        for relay, host in ((RelayTransport(tls=trusting), "127.0.0.1"), (RelayTransport(), "localhost")):
            with pytest.raises(ConnectFailed):
                await call(relay, Target(host, running.port, tls=True))
            await relay.close()
        assert not any(line.requests for line in running.lines)

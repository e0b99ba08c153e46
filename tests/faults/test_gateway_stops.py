"""SIGTERM: what runs is finished, for a while; what is new is refused; a second one ends at once."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fake_engines import DONE, USAGE, Answer, Seen, binding, delta, engine, event
from gateways import ADMIN_KEY, Gateway, running

WORDS = 8


def paced(seen: Seen) -> Answer:
    """`paced` says a word every tenth of a second; `hangs` says one and no more."""
    first = event([delta(role="assistant", content="")])
    words = [event([delta(content=f"word{number} ")]) for number in range(WORDS)]
    if seen.body["model"] == "hangs":
        return Answer([first, words[0]], hangs=True)
    last = event([delta(finish="stop")]) + event([], usage=USAGE) + DONE
    return Answer([first, *words, last], pause=0.1)


@contextlib.contextmanager
def serving(folder: Path, **env: str) -> Iterator[Gateway]:
    with engine(paced) as answering:
        config = binding("paced", answering) + binding("hangs", answering)
        with running(folder, "--model", "paced", config=config, env=env) as gateway:
            yield gateway


def connect(gateway: Gateway) -> socket.socket:
    address = urlsplit(gateway.root)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=20)


def begin(gateway: Gateway, model: str) -> socket.socket:
    """A streamed chat of which the first word has come."""
    connection = connect(gateway)
    body = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}
    ).encode()
    connection.sendall(
        b"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b" % (ADMIN_KEY.encode(), len(body), body)
    )
    seen = b""
    while b"word0" not in seen:
        piece = connection.recv(4096)
        assert piece, seen
        seen += piece
    return connection


def rest_of(connection: socket.socket) -> bytes:
    read = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            read += piece
    return read


def is_refused(gateway: Gateway) -> bool:
    """Whether a new connection is refused, or closed without an answer."""
    try:
        with connect(gateway) as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return late.recv(100) == b""
    except OSError:
        return True


@pytest.mark.long
def test_sigterm_lets_a_stream_end_and_refuses_what_is_new(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway:
        with begin(gateway, "paced") as running_stream:
            gateway.process.send_signal(signal.SIGTERM)
            rest: list[bytes] = []
            reader = threading.Thread(target=lambda: rest.append(rest_of(running_stream)))
            reader.start()
            deadline = time.monotonic() + 10
            while not is_refused(gateway):
                assert reader.is_alive(), "new connections are taken until the stream has ended"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            reader.join(20)
        assert f"word{WORDS - 1}".encode() in rest[0]
        assert b"data: [DONE]" in rest[0]
        assert gateway.process.wait(10) == 0


@pytest.mark.long
def test_an_idle_server_ends_soon_after_sigterm_although_clients_keep_connections(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway, connect(gateway) as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(4096)
        began = time.monotonic()
        assert gateway.stop() == 0
        assert time.monotonic() - began < 10, "far less than the thirty seconds of the drain"


@pytest.mark.long
def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with serving(tmp_path) as gateway, begin(gateway, "hangs"):
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert gateway.process.poll() is None, "it waits for the stream"
        again = time.monotonic()
        status = gateway.stop(signal.SIGTERM)
        assert time.monotonic() - again < 10, "far less than the thirty seconds of the drain"
        assert status == 0


@pytest.mark.long
def test_the_drain_ends_after_its_seconds(tmp_path: Path) -> None:
    with serving(tmp_path, FONDACO_SERVER__DRAIN_SECONDS="1") as gateway, begin(gateway, "hangs") as hanging:
        began = time.monotonic()
        status = gateway.stop()
        assert 0.8 < time.monotonic() - began < 10
        assert status == 0
        assert b"finish_reason" not in rest_of(hanging)


@pytest.mark.long
@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], pytest.param([signal.SIGINT, signal.SIGINT], marks=pytest.mark.long)]
)
def test_ctrl_c_is_the_same(tmp_path: Path, signals: list[signal.Signals]) -> None:
    model = "paced" if len(signals) == 1 else "hangs"
    with serving(tmp_path) as gateway, begin(gateway, model) as stream:
        for number in signals:
            gateway.process.send_signal(number)
            time.sleep(0.3)
        assert (b"data: [DONE]" in rest_of(stream)) == (model == "paced")
        assert gateway.process.wait(10) in (0, 130)
        assert "Traceback" not in gateway.output

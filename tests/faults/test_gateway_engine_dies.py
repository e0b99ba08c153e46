"""A local engine that is killed under a stream, and a gateway that is killed over its engine."""

from __future__ import annotations

import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from gateways import ADMIN_KEY, TINY, Gateway, running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One of our own: the shared one is not to be broken."""
    with running(tmp_path_factory.mktemp("killed"), "--model", TINY) as made:
        made.wait_ready()
        yield made


def ask(gateway: Gateway, **more: Any) -> http.client.HTTPResponse:
    address = urlsplit(gateway.root)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    body = {"model": "default", "messages": [{"role": "user", "content": "Count to a hundred."}], **more}
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
    connection.request("POST", "/api/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()


def the_child(gateway: Gateway) -> psutil.Process:
    (child,) = psutil.Process(gateway.process.pid).children()
    return child


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_stream_whose_engine_is_killed_ends_with_an_error_and_the_next_request_works(
    gateway: Gateway,
) -> None:
    answer = ask(gateway, stream=True, max_tokens=2000)
    assert answer.status == 200
    begun = b"".join(answer.readline() for _ in range(6))
    assert begun.count(b"data: ") == 3
    killed = the_child(gateway)
    killed.kill()
    rest = answer.read()
    *_, failed, done, nothing = rest.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    error = json.loads(failed.removeprefix(b"data: "))["error"]
    assert error["type"] == "server_error"
    assert set(error) >= {"message", "type", "code", "param"}
    assert b'"finish_reason":"stop"' not in rest

    again = ask(gateway, max_tokens=3)
    assert again.status == 200, again.read()
    assert json.load(again)["usage"]["completion_tokens"] == 3
    assert the_child(gateway).pid != killed.pid
    assert gateway.process.poll() is None


def test_an_answer_whose_engine_is_killed_is_an_error(gateway: Gateway) -> None:
    assert ask(gateway, max_tokens=1).status == 200
    # It has not said anything by then, so the answer can still be a status.
    child = the_child(gateway)
    child.suspend()
    try:
        address = urlsplit(gateway.root)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        body = {"model": "default", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/json"}
        connection.request("POST", "/api/v1/chat/completions", json.dumps(body), headers)
        time.sleep(0.2)
    finally:
        child.kill()
    answer = connection.getresponse()
    assert answer.status in (502, 503)
    assert json.load(answer)["code"] in ("UPSTREAM_FAILED", "MODEL_OFFLINE")


@pytest.mark.long
def test_the_children_of_a_killed_gateway_are_gone_within_two_seconds(tmp_path: Path) -> None:
    with running(tmp_path, "--model", TINY) as gateway:
        gateway.wait_ready()
        child = the_child(gateway)
        answer = ask(gateway, stream=True, max_tokens=2000)
        answer.readline()
        killed = time.monotonic()
        gateway.stop(signal.SIGKILL)
        while not is_gone(child):
            assert time.monotonic() - killed < 2, "the engine outlives its gateway"
            time.sleep(0.02)
    # And what they left is no obstacle to the next.
    with running(tmp_path, "--model", TINY) as gateway:
        gateway.wait_ready()
        assert ask(gateway, max_tokens=1).status == 200

"""/chat/completions over HTTP, from a real gateway process in front of a scripted engine: bad requests, bad engines."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from fake_engines import DONE, Answer, FakeEngine, Seen, binding, cut, delta, engine, event, stream, whole
from fondaco.chat.wire import ChatRequest
from gateways import ADMIN_KEY, Gateway, running
from scripted_chat import USER, chunks_of, folded, folded_whole

PATH = "/api/v1/chat/completions"
HELLO = stream({"content": "Hel"}, {"content": "lo, "}, {"content": "you \n\n there"})
GOOD: dict[str, Any] = {"model": "far", "messages": USER}


def hello(seen: Seen) -> Answer:
    if seen.body.get("stream"):
        return Answer(cut(HELLO, 50))
    return Answer([whole({"content": "Hello, you \n\n there"})], content_type="application/json")


@pytest.fixture(scope="module")
def far() -> Iterator[FakeEngine]:
    with engine(hello) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(far: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = '[limits]\nscale = 0\nabuse_failures = 0\n[models]\ndefault = "far"\n'
    config += binding("far", far, max_completion_tokens=4096, chunk_timeout=2, first_byte_timeout=2)
    config += '[models.bind."dead"]\nbase_url = "http://127.0.0.1:1/v1"\n'
    with running(tmp_path_factory.mktemp("chat"), "--offline", config=config) as made:
        yield made


@pytest.fixture(autouse=True)
def as_before(far: FakeEngine) -> Iterator[None]:
    yield
    far.answer = hello


class Got:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def connect(gateway: Gateway) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(gateway.root).netloc, timeout=20)


def ask(
    gateway: Gateway, body: Any = None, *, method: str = "POST", path: str = PATH, **headers: str | None
) -> Got:
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    sent = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    merged = {**sent, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection = connect(gateway)
    try:
        connection.request(
            method, path, raw, {name: value for name, value in merged.items() if value is not None}
        )
        return Got(connection.getresponse())
    finally:
        connection.close()


def test_streamed_and_whole_agree_over_the_wire(gateway: Gateway, far: FakeEngine) -> None:
    whole_one = ask(gateway, GOOD)
    assert whole_one.headers["content-type"] == "application/json"
    streamed = ask(gateway, {**GOOD, "stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    said = folded(chunks_of(streamed.body))
    assert said == folded_whole(whole_one.json)
    assert said.text == "Hello, you \n\n there"
    assert "authorization" not in far.seen[-1].headers, "our caller's key is not the engine's"
    assert ADMIN_KEY not in json.dumps(far.seen[-1].body)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 4096])
def test_any_cutting_by_the_engine_says_the_same(gateway: Gateway, far: FakeEngine, size: int) -> None:
    for body in (HELLO, HELLO.replace(b"\n\n", b"\r\n\r\n")):
        far.answer = lambda seen, body=body: Answer(cut(body, size))
        assert folded(chunks_of(ask(gateway, {**GOOD, "stream": True}).body)).text == "Hello, you \n\n there"
        assert folded_whole(ask(gateway, GOOD).json).text == "Hello, you \n\n there"


def test_the_alias_base_answers_too(gateway: Gateway) -> None:
    assert ask(gateway, GOOD, path="/v1/chat/completions").status == 200
    assert ask(gateway, GOOD, path=PATH + "/").status == 200


# Who may ask, and how.


@pytest.mark.parametrize(
    "key",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "Bearer \x80", "Token x", "Bearer a b"],
)
def test_without_a_good_key_nothing_is_looked_at(gateway: Gateway, key: str | None) -> None:
    for body in (GOOD, b"{", b"x" * 100_000):
        got = ask(gateway, body, authorization=key)
        assert got.status == 401
        assert got.json == {"error": "Authentication failed", "code": "AUTHENTICATION_FAILED"}
        assert got.headers["www-authenticate"] == "Bearer"


def test_every_answer_carries_a_request_id_and_the_version(gateway: Gateway) -> None:
    seen: set[str] = set()
    for got in (
        ask(gateway, GOOD),
        ask(gateway, {**GOOD, "stream": True}),
        ask(gateway, b"{"),
        ask(gateway, GOOD, authorization=None),
        ask(gateway, path="/nowhere"),
    ):
        assert got.headers["x-venice-version"]
        seen.add(got.headers["cf-ray"])
    assert len(seen) == 5


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_other_methods_are_told_which_one(gateway: Gateway, method: str) -> None:
    got = ask(gateway, method=method)
    assert got.status == 405
    assert got.headers["allow"] == "POST"
    if method != "HEAD":
        assert got.json["code"] == "METHOD_NOT_ALLOWED"
    else:
        assert got.body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1",
        "/api/v1/chat",
        PATH + "/x",
        "/chat/completions",
        "/api/v1/chat/completions%3f",
        "/api/v1/../v1/chat",
        "//api/v1/chat/completions",
    ],
)
def test_other_paths_are_not_found(gateway: Gateway, path: str) -> None:
    got = ask(gateway, GOOD, path=path)
    assert got.status == 404
    assert got.json["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "",
    ],
)
def test_other_content_types_are_refused(gateway: Gateway, kind: str) -> None:
    got = ask(gateway, GOOD, content_type=kind)
    assert (got.status, got.json["code"]) == (415, "INVALID_CONTENT_TYPE")


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;x=y", None]
)
def test_json_may_be_called_so_in_any_way(gateway: Gateway, kind: str | None) -> None:
    assert ask(gateway, GOOD, content_type=kind).status == 200


# Bodies.


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(lambda: b"", 400, id="nothing"),
        pytest.param(lambda: b"{", 400, id="half"),
        pytest.param(lambda: b"null", 400, id="null"),
        pytest.param(lambda: b"[]", 400, id="a list"),
        pytest.param(lambda: b'{"model":"far"} {}', 400, id="two bodies"),
        pytest.param(lambda: b'{"model":"far","messages":[{"role":"user","content":"\xff"}]}', 400, id="invalid UTF-8"),
        pytest.param(lambda: b'{"model":"far","messages":[{"role":"user","content":"\\ud800"}]}', 400, id="half a character"),
        pytest.param(lambda: b"\xff\xfe{\x00}\x00", 400, id="UTF-16"),
        pytest.param(lambda: b"[" * 100_000 + b"]" * 100_000, 400, id="nested arrays"),
        pytest.param(lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, id="nested objects"),
        pytest.param(
            lambda: b'{"model":"far","messages":[' + b",".join([b'{"role":"user","content":"x"}'] * 1_000_000) + b"]}",
            400,
            id="a million messages",
        ),
        pytest.param(lambda: b'{"model":"far","messages":[{"role":"user","content":"' + b"x" * 40_000_000 + b'"}]}', 413, id="40 MB"),
    ],
)  # fmt: skip
def test_a_hostile_body_is_refused_quickly(gateway: Gateway, body: Callable[[], bytes], status: int) -> None:
    made = body()
    started = time.perf_counter()
    try:
        got = ask(gateway, made)
    except (BrokenPipeError, ConnectionResetError):
        # Refused before it was sent whole, and the connection closed.
        assert status == 413
        return
    assert time.perf_counter() - started < 5
    assert got.status == status
    assert got.json["code"]
    assert len(got.body) < 5000


def test_a_body_too_large_is_refused_by_what_it_announces(gateway: Gateway) -> None:
    with socket.create_connection(
        (urlsplit(gateway.root).hostname or "", urlsplit(gateway.root).port or 0)
    ) as line:
        line.settimeout(5)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        line.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 40000000000\r\n\r\n".encode())
        assert line.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_too_large_is_refused_though_it_announces_nothing(gateway: Gateway) -> None:
    with socket.create_connection(
        (urlsplit(gateway.root).hostname or "", urlsplit(gateway.root).port or 0)
    ) as line:
        line.settimeout(5)
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        line.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            for _ in range(60):
                line.sendall(piece)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(4096).startswith(b"HTTP/1.1 413")
    assert ask(gateway, GOOD).status == 200


WRONG = [
    7,
    -1,
    1.5,
    "x",
    True,
    [],
    {},
    [[]],
    [{}],
    {"x": []},
    10**40,
    "x" * 100_000,
    [None],
    {"type": "x"},
    "\x00",
]


def test_every_field_wrong_in_turn_is_a_400_that_names_it(gateway: Gateway, far: FakeEngine) -> None:
    connection = connect(gateway)
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    refused = 0
    for field in msgspec.structs.fields(ChatRequest):
        name = field.encode_name
        for value in WRONG:
            connection.request("POST", PATH, json.dumps({**GOOD, name: value}), headers)
            got = Got(connection.getresponse())
            if name == "model" and got.status == 404:
                continue
            assert got.status in (200, 400), (name, got.status)
            if got.status == 400:
                refused += 1
                told = got.json
                assert isinstance(told["error"], str)
                paths = {issue["path"][0] for issue in told.get("issues", ()) if issue["path"]}
                assert name in paths or name in told["error"] or paths & {"tool_choice", "tools"}, (
                    name,
                    told,
                )
                assert len(got.body) < 20_000
    assert refused > 300
    connection.close()


@pytest.mark.parametrize(
    "body", [{"messages": USER}, {**GOOD, "model": None}, {**GOOD, "model": 7}, {**GOOD, "model": ["far"]}]
)
def test_the_model_is_asked_for_before_all_else(gateway: Gateway, body: dict[str, Any]) -> None:
    got = ask(gateway, body)
    assert got.status == 400
    assert got.json["error"] in ("model is required", "model must be a string")


@pytest.mark.parametrize(
    "name", ["nobody", "", "x" * 100_000, "../far", "far\n", "é", "FAR", ":", "nobody:a=b"]
)
def test_an_unknown_model_is_not_found(gateway: Gateway, name: str) -> None:
    got = ask(gateway, {**GOOD, "model": name})
    assert (got.status, got.json["code"]) == (404, "MODEL_NOT_FOUND")
    assert len(got.body) < 1000


# Engines that misbehave.


def test_an_engine_that_refuses_the_connection_is_offline(gateway: Gateway) -> None:
    got = ask(gateway, {**GOOD, "model": "dead"})
    assert (got.status, got.json["code"]) == (503, "MODEL_OFFLINE")
    assert int(got.headers["retry-after"]) > 0


def hears(far: FakeEngine, count: int) -> bool:
    """Whether so many answers that hung have been left, within a few seconds."""
    deadline = time.monotonic() + 5
    while len(far.left) < count and time.monotonic() < deadline:
        time.sleep(0.005)
    return len(far.left) == count


PART = event([delta(role="assistant", content="")]) + event([delta(content="so far")])


def test_an_engine_killed_in_mid_stream_ends_with_the_error_event(gateway: Gateway, far: FakeEngine) -> None:
    far.answer = lambda seen: Answer([PART], breaks=True)
    got = ask(gateway, {**GOOD, "stream": True})
    assert got.status == 200
    *_, last, done = got.body.split(b"\n\n")[:-1]
    assert done == b"data: [DONE]"
    assert json.loads(last[6:])["error"]["type"] == "server_error"
    assert b"so far" in got.body
    assert ask(gateway, GOOD).status == 502
    far.answer = hello
    assert ask(gateway, GOOD).status == 200


@pytest.mark.long
def test_a_silent_engine_is_a_timeout(gateway: Gateway, far: FakeEngine) -> None:
    left = len(far.left)
    far.answer = lambda seen: Answer([PART], hangs=True)
    assert ask(gateway, GOOD).status == 504
    got = ask(gateway, {**GOOD, "stream": True})
    assert got.body.endswith(DONE)
    assert b'"error"' in got.body
    assert hears(far, left + 2)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("said", [b"", PART], ids=["before the first word", "in the middle"])
def test_a_client_that_leaves_frees_the_engine(
    gateway: Gateway, far: FakeEngine, streamed: bool, said: bytes
) -> None:
    far.answer = lambda seen: Answer([said] if said else [], hangs=True)
    asked, left = len(far.seen), len(far.left)
    connection = connect(gateway)
    answer: http.client.HTTPResponse | None = None
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    connection.request("POST", PATH, json.dumps({**GOOD, "stream": streamed}), headers)
    deadline = time.monotonic() + 5
    while len(far.seen) == asked and time.monotonic() < deadline:
        time.sleep(0.005)
    if streamed and said:
        answer = connection.getresponse()
        assert answer.read(10)
    time.sleep(0.1)
    assert len(far.left) == left
    gone = time.monotonic()
    if answer is not None:
        answer.close()
    connection.close()
    assert hears(far, left + 1)
    # A tenth of a second by design; the rest is for busy machines.
    assert far.left[-1] - gone < 1
    far.answer = hello
    assert ask(gateway, GOOD).status == 200


def test_text_is_passed_on_when_it_comes_and_not_later(gateway: Gateway, far: FakeEngine) -> None:
    words = [event([delta(content=f"word{at} ")]) for at in range(4)]
    far.answer = lambda seen: Answer([PART, *words, event([delta(finish="stop")]) + DONE], pause=0.15)
    connection = connect(gateway)
    headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
    connection.request("POST", PATH, json.dumps({**GOOD, "stream": True}), headers)
    answer = connection.getresponse()
    times: list[float] = []
    while line := answer.readline():
        if b"word" in line:
            times.append(time.monotonic())
    gaps = [after - before for before, after in pairwise(times)]
    assert len(times) == 4
    assert min(gaps) > 0.05
    connection.close()


def test_nothing_crashed(gateway: Gateway) -> None:
    assert "crashed" not in gateway.output
    assert "Traceback" not in gateway.output

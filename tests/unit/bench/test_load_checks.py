"""The load tool voids a run for one wrong answer: each kind of wrong answer is shown to it here."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[3]
TOKENS = 5
WRONG = 3
Json = dict[str, Any]

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="there is no C compiler to build the load tool"
)


@pytest.fixture(scope="module")
def load_tool() -> Path:
    words = [sys.executable, "-m", "bench.overhead.compile"]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return Path(built.stdout.strip()) / "load"


@dataclass
class Reply:
    """What the server says to one request; a test spoils one part of it."""

    nonce: str
    status: int = 200
    id: str = field(default_factory=lambda: "chatcmpl-" + uuid4().hex)
    model: str = "mock"
    chunked: bool = True
    cut: bool = False
    """End the connection before the body's end."""
    data: list[Json | str] = field(default_factory=list)
    """The events of a stream, or the one body of a plain answer."""

    def head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": 1763749200, "model": self.model}


def stream_reply(nonce: str) -> Reply:
    reply = Reply(nonce)

    def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
        choices = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        return reply.head("chat.completion.chunk") | {"choices": choices} | more

    usage = {"prompt_tokens": 412, "completion_tokens": TOKENS, "total_tokens": 412 + TOKENS}
    tokens = [f"@{nonce}.{number:05}.{time.monotonic_ns():019}@" for number in range(TOKENS)]
    reply.data = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": token}) for token in tokens),
        chunk({}, "stop", usage=usage),
        reply.head("chat.completion.chunk") | {"choices": [], "usage": usage},
        "[DONE]",
    ]
    return reply


def plain_reply(nonce: str) -> Reply:
    reply = Reply(nonce, chunked=False)
    line = "The quick brown fox jumps over the lazy dog, and then it rests under a tree. "
    message = {"role": "assistant", "content": f"Booking {nonce}: {line * 12}"}
    reply.data = [
        reply.head("chat.completion")
        | {
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 412, "completion_tokens": 180, "total_tokens": 592},
        }
    ]
    return reply


@contextmanager
def serving(make: Callable[[str], Reply], spoil: Callable[[Reply], None]) -> Generator[int]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found = re.search(r"booking code is (\d{10})", body)
            assert found
            reply = make(found[1])
            spoil(reply)
            self.answer(reply)

        def answer(self, reply: Reply) -> None:
            stream = make is stream_reply
            texts = [item if isinstance(item, str) else json.dumps(item) for item in reply.data]
            self.send_response(reply.status)
            self.send_header("Content-Type", "text/event-stream" if stream else "application/json")
            if reply.chunked:
                self.send_header("Transfer-Encoding", "chunked")
                pieces = [f"data: {text}\n\n" if stream else text for text in texts]
                framed = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces) + "0\r\n\r\n"
            else:
                framed = "".join(texts)
                self.send_header("Content-Length", str(len(framed)))
            self.end_headers()
            self.wfile.write(framed[:-9].encode() if reply.cut else framed.encode())
            self.close_connection = reply.cut

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                return  # the tool leaves at the first wrong answer

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def put_load(tool: Path, folder: Path, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    body = folder / "body.json"
    body.write_text('{"messages":[{"role":"user","content":"My booking code is 0000000000."}]}')
    words = [
        str(tool),
        "--port",
        str(port),
        "--body",
        str(body),
        "--connections",
        "2",
        "--requests",
        "6",
        *options,
    ]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


AS_GATEWAY = ("--gateway", "--model", "mock")
STREAMED = ("--tokens", str(TOKENS))


def nothing(reply: Reply) -> None:
    return


def change(index: int, **fields: Any) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        item = reply.data[index]
        assert isinstance(item, dict)
        item.update(fields)

    return spoil


def drop(index: int, key: str | None = None) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        item = reply.data[index]
        if key is None:
            del reply.data[index]
        else:
            assert isinstance(item, dict)
            del item[key]

    return spoil


def set_on_reply(**fields: Any) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        for name, value in fields.items():
            setattr(reply, name, value)

    return spoil


def set_on_all_chunks(**fields: Any) -> Callable[[Reply], None]:
    def spoil(reply: Reply) -> None:
        for item in reply.data:
            if isinstance(item, dict):
                item.update(fields)

    return spoil


def swap_two_tokens(reply: Reply) -> None:
    reply.data[2], reply.data[3] = reply.data[3], reply.data[2]


def drop_all_usage(reply: Reply) -> None:
    for item in reply.data:
        if isinstance(item, dict):
            item.pop("usage", None)


def say_more_after_done(reply: Reply) -> None:
    reply.data.append(reply.data[0])


def repeat_last_token(reply: Reply) -> None:
    reply.data.insert(TOKENS, reply.data[TOKENS])


def answer_another_request(reply: Reply) -> None:
    reply.data = [json.loads(json.dumps(item).replace(reply.nonce, "0123456789")) for item in reply.data]


def break_json(reply: Reply) -> None:
    reply.data[2] = json.dumps(reply.data[2])[:-1]


@pytest.mark.parametrize("options", [(), AS_GATEWAY])
def test_right_plain_answers_pass(load_tool: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    with serving(plain_reply, nothing) as port:
        done = put_load(load_tool, tmp_path, port, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answers"] == 6


@pytest.mark.parametrize("options", [(), AS_GATEWAY])
def test_right_streams_pass_with_every_token_counted(
    load_tool: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with serving(stream_reply, nothing) as port:
        done = put_load(load_tool, tmp_path, port, *STREAMED, *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tokens"] == found["tokens_expected"] == 6 * TOKENS
    assert found["gap_us"]["count"] == 6 * (TOKENS - 1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (set_on_reply(status=503), "status is not 200"),
        (set_on_reply(cut=True), "the connection ended"),
        (answer_another_request, "content is not the answer to this request"),
        (drop(0, "usage"), "no usage"),
        (drop(0, "id"), "no id"),
        (
            change(0, usage={"prompt_tokens": 1, "completion_tokens": 180}),
            "usage is not what the upstream counted",
        ),
        (change(0, choices=[]), "choices is empty"),
        (change(0, error={"message": "no"}), "an error instead of an answer"),
    ],
)
def test_a_wrong_plain_answer_of_any_server_voids_the_run(
    load_tool: Path, tmp_path: Path, spoil: Callable[[Reply], None], said: str
) -> None:
    with serving(plain_reply, spoil) as port:
        done = put_load(load_tool, tmp_path, port)
    assert done.returncode == WRONG, done
    assert said in done.stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change(0, id="cmpl-1"), "id does not start with chatcmpl-"),
        (change(0, id="chatcmpl-upstream7f3a9c2b51d84e0f"), "id is the upstream's"),
        (change(0, id="chatcmpl-always-the-same"), "id is that of the answer before"),
        (change(0, model="mock-engine"), "model is not the expected one"),
    ],
)
def test_a_gateway_must_answer_in_its_own_name(
    load_tool: Path, tmp_path: Path, spoil: Callable[[Reply], None], said: str
) -> None:
    with serving(plain_reply, spoil) as port:
        assert put_load(load_tool, tmp_path, port).returncode == 0
        done = put_load(load_tool, tmp_path, port, *AS_GATEWAY)
    assert done.returncode == WRONG, done
    assert said in done.stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop(3), "token is not the next one"),
        (drop(TOKENS), "tokens are missing"),
        (swap_two_tokens, "token is not the next one"),
        (repeat_last_token, "token is not the next one"),
        (answer_another_request, "token is not the next one"),
        (drop(-1), "no [DONE]"),
        (say_more_after_done, "an event after [DONE]"),
        (drop(TOKENS + 1), "no finish_reason"),
        (drop_all_usage, "no usage"),
        (break_json, "broken JSON"),
        (set_on_reply(cut=True), "the connection ended"),
        (set_on_reply(chunked=False), "a stream that is not chunked"),
    ],
)
def test_a_wrong_stream_of_any_server_voids_the_run(
    load_tool: Path, tmp_path: Path, spoil: Callable[[Reply], None], said: str
) -> None:
    with serving(stream_reply, spoil) as port:
        done = put_load(load_tool, tmp_path, port, *STREAMED)
    assert done.returncode == WRONG, done
    assert said in done.stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop(TOKENS + 1, "usage"), "no usage with the finish_reason"),
        (change(2, id="chatcmpl-another"), "id changes within a stream"),
        (set_on_all_chunks(id="chatcmpl-upstream7f3a9c2b51d84e0f"), "id is the upstream's"),
        (change(TOKENS + 2, model="mock-engine"), "model is not the expected one"),
    ],
)
def test_a_gateway_must_put_its_name_and_the_usage_into_its_streams(
    load_tool: Path, tmp_path: Path, spoil: Callable[[Reply], None], said: str
) -> None:
    with serving(stream_reply, spoil) as port:
        assert put_load(load_tool, tmp_path, port, *STREAMED).returncode == 0
        done = put_load(load_tool, tmp_path, port, *STREAMED, *AS_GATEWAY)
    assert done.returncode == WRONG, done
    assert said in done.stderr

"""An OpenAI-speaking server on loopback that answers exactly the bytes a test gives it, cut as the test says.

It stands in for what cannot run here (models that reason or see, other vendors' servers) and speaks their wire.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

CHUNK = {"id": "chatcmpl-theirs", "object": "chat.completion.chunk", "created": 1763749200, "model": "theirs"}


@dataclass
class Seen:
    """A request that came in."""

    path: str
    headers: dict[str, str]
    body: Any
    """JSON, or the bytes of a form."""


@dataclass
class Answer:
    """What goes out: a status, and pieces written one after the other. Without `whole` the body is chunked."""

    pieces: Sequence[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0
    """Seconds between two pieces."""
    breaks: bool = False
    """Close the connection after the last piece, in the middle of the body."""
    hangs: bool = False
    """Say nothing more after the last piece until the other side leaves."""


class FakeEngine:
    """Answers every request by `answer(seen)`."""

    def __init__(self, answer: Callable[[Seen], Answer]) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        self.left: list[float] = []
        """When the other side left an answer that hung (time.monotonic)."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(OSError, ValueError), connection.makefile("rb") as reader:
            while (seen := _read_request(reader)) is not None:
                self.seen.append(seen)
                if not self._send(connection, self.answer(seen)):
                    return

    def _send(self, connection: socket.socket, answer: Answer) -> bool:
        headers = {"content-type": answer.content_type, "transfer-encoding": "chunked", **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"HTTP/1.1 {answer.status} Said\r\n{lines}\r\n".encode())
        for piece in answer.pieces:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            if answer.pause:
                time.sleep(answer.pause)
        if answer.hangs:
            while connection.recv(1):
                pass
            self.left.append(time.monotonic())
            return False
        if answer.breaks:
            return False
        connection.sendall(b"0\r\n\r\n")
        return True


def _read_request(reader: Any) -> Seen | None:
    line = reader.readline()
    if not line:
        return None
    headers: dict[str, str] = {}
    while (raw := reader.readline()) not in (b"\r\n", b""):
        name, _, value = raw.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    if body and not headers.get("content-type", "").startswith("multipart/form-data"):
        body = json.loads(body)
    return Seen(line.split()[1].decode(), headers, body or None)


@contextlib.contextmanager
def engine(answer: Answer | Callable[[Seen], Answer]) -> Iterator[FakeEngine]:
    made = FakeEngine(answer if callable(answer) else lambda seen: answer)
    try:
        yield made
    finally:
        made.close()


def event(choices: list[Any], **more: Any) -> bytes:
    """One streamed chunk as an event."""
    return (
        b"data: "
        + json.dumps({**CHUNK, "choices": choices, **more}, separators=(",", ":")).encode()
        + b"\n\n"
    )


def delta(index: int = 0, finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "logprobs": None, "finish_reason": finish}


USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
DONE = b"data: [DONE]\n\n"


def stream(*deltas: dict[str, Any], finish: str = "stop", usage: dict[str, Any] | None = USAGE) -> bytes:
    """A whole stream whose choice 0 says these deltas."""
    events = [event([delta(role="assistant", content="")]), *(event([delta(**said)]) for said in deltas)]
    events.append(event([delta(finish=finish)]))
    if usage is not None:
        events.append(event([], usage=usage))
    return b"".join((*events, DONE))


def whole(message: dict[str, Any], finish: str = "stop", usage: dict[str, Any] | None = USAGE) -> bytes:
    """A whole answer in one JSON body."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", **message},
        "finish_reason": finish,
        "logprobs": None,
    }
    return json.dumps({**CHUNK, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def cut(body: bytes, size: int) -> list[bytes]:
    """The body in pieces of that many bytes."""
    return [body[at : at + size] for at in range(0, len(body), size)]


def binding(name: str, engine: FakeEngine, **facts: Any) -> str:
    """A `[models.bind]` table that leads `name` to this engine."""
    lines = [f'[models.bind."{name}"]', f'base_url = "{engine.base_url}"']
    lines += [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
    return "\n".join(lines) + "\n"

"""One batch of streamed chats, and how fast its tokens came."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass


class StreamError(RuntimeError):
    """A stream was refused, or ended without usage or [DONE]."""


@dataclass(frozen=True)
class Endpoint:
    port: int
    path: str
    key: str


@dataclass(frozen=True)
class Batch:
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def run_batch(endpoint: Endpoint, model: str, streams: int, max_tokens: int, nonce: int) -> Batch:
    """`streams` chats at once, from the first byte sent to the last received.

    Prompts begin with `nonce`, so that no prompt cache can help one side. Raises StreamError.
    """
    found: list[int] = []
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            found.append(_stream(endpoint, model, max_tokens, f"{nonce}{number}"))
        except (OSError, http.client.HTTPException, StreamError, ValueError) as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(streams)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failed:
        raise StreamError(str(failed[0])) from failed[0]
    return Batch(sum(found), seconds)


def _stream(endpoint: Endpoint, model: str, max_tokens: int, nonce: str) -> int:
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": f"Order {nonce}. You write long stories and never stop early."},
            {"role": "user", "content": "Write a very long story about a harbour, with many chapters."},
        ],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=300)
    headers = {"Authorization": f"Bearer {endpoint.key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", endpoint.path, json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise StreamError(f"status {answer.status}: {answer.read(500)!r}")
        tokens, done = 0, False
        for line in answer:
            if line.strip() == b"data: [DONE]":
                done = True
            elif b'"completion_tokens"' in line:
                usage = json.loads(line.removeprefix(b"data: ")).get("usage")
                tokens = usage["completion_tokens"] if usage else tokens
    finally:
        connection.close()
    if not done or tokens == 0:
        raise StreamError("a stream ended without [DONE] or usage")
    return tokens

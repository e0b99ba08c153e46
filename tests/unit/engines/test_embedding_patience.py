"""An answer that takes longer than a gateway would wait in silence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fondaco.engines.embeddings import app
from fondaco.engines.embeddings.tokens import Text

pytestmark = pytest.mark.anyio


class Tokens:
    def read_all(self, texts: Sequence[str]) -> list[Text]:
        return [Text([[1, 2]], 2) for _ in texts]


class Slow:
    dimensions = 2
    at_once = 1

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def encode(self, rows: Sequence[Sequence[int]]) -> Any:
        time.sleep(self._seconds)
        return np.array([[0.6, 0.8]] * len(rows), np.float32)


async def sent(seconds: float, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(app, "QUIET_SECONDS", 0.05)
    endpoint: Any = app.Embeddings("m", Tokens(), Slow(seconds), 8, cut=False)  # pyright: ignore[reportArgumentType]
    coming = [{"type": "http.request", "body": b'{"input": ["a", "b"]}'}]
    messages: list[dict[str, Any]] = []

    async def receive() -> Any:
        return coming.pop() if coming else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(message)

    await endpoint({"type": "http"}, receive, send)
    return messages


async def test_a_slow_answer_is_led_by_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    start, *bodies = await sent(0.3, monkeypatch)
    assert start["status"] == 200
    assert b"content-length" not in dict(start["headers"])
    assert [body["body"] for body in bodies[:2]] == [b" ", b" "]
    assert [body.get("more_body", False) for body in bodies] == [True] * (len(bodies) - 1) + [False]
    answer = json.loads(b"".join(body["body"] for body in bodies))
    assert [item["index"] for item in answer["data"]] == [0, 1]


async def test_a_quick_answer_says_how_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    start, body = await sent(0, monkeypatch)
    assert int(dict(start["headers"])[b"content-length"]) == len(body["body"])

"""What servers say of a recording all at once, understood though it is not quite OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from fondaco.media.multipart import File
from fondaco.upstream.seats import Seat
from fondaco.upstream.transcription import Done, Event, Heard, Order, Transcribers
from fondaco.upstream.transport import Exchange, Target

pytestmark = pytest.mark.anyio

SEGMENT = {"id": 0, "start": 0.5, "end": 2, "text": " Hello."}


class Told:
    """An exchange, and the transport that gives it."""

    status = 200

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.headers = {b"content-type": b"application/json"}
        self._body = json.dumps(told).encode()

    async def send(self, *_: object) -> Exchange:
        return self

    async def read(self, limit: int) -> bytes:
        return self._body

    def chunks(self) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def aclose(self) -> None:
        pass

    async def close(self) -> None:
        pass


async def events(told: Mapping[str, Any]) -> list[Event]:
    order = Order(file=File(memoryview(b"sound")))
    asked = Transcribers(Told(told)).ask(Seat(Target("engine", 80)), order)
    return [event async for event in asked]


async def test_a_figure_that_is_null_is_one_that_is_not_told() -> None:
    nulls = dict.fromkeys(("words", "avg_logprob", "no_speech_prob", "tokens", "seek", "temperature"))
    told = {"text": "Hello.", "duration": 2, "segments": [{**SEGMENT, **nulls}], "words": None}
    heard, done = await events(told)
    [plain, _] = await events({"text": "Hello.", "segments": [SEGMENT]})
    assert isinstance(heard, Heard)
    assert isinstance(plain, Heard)
    assert heard.segment == plain.segment
    assert isinstance(done, Done)
    assert (done.seconds, done.words) == (2, None)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (3.5, 3.5),
        ("3.5", 3.5),
        (4, 4.0),
        ("nan", None),
        ("inf", None),
        ("-Infinity", None),
        ("soon", None),
        ("", None),
    ],
)
async def test_a_duration_is_a_number_or_the_text_of_one(told: object, seconds: float | None) -> None:
    [done] = await events({"text": "", "duration": told})
    assert isinstance(done, Done)
    assert done.seconds == seconds

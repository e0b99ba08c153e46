"""What is made of an embedding engine's answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from fondaco.augment.embedder import EngineEmbedder
from fondaco.upstream.seats import Seat
from fondaco.upstream.transport import Target

pytestmark = pytest.mark.anyio


class Engine:
    """A registry, a seat and a transport in one, whose answer is given."""

    status = 200

    def __init__(self, embedding: str) -> None:
        self._answer = f'{{"data": [{{"index": 0, "embedding": "{embedding}"}}]}}'.encode()

    def resolve(self, name: str, kind: str) -> None: ...

    @asynccontextmanager
    async def seat(self, resolved: object, account: str) -> AsyncGenerator[Seat]:
        yield Seat(Target(host="engine.test", port=80))

    async def send(self, *given: object) -> Engine:
        return self

    async def read(self, most: int) -> bytes:
        return self._answer

    async def aclose(self) -> None: ...


@pytest.mark.parametrize(
    ("embedding", "vectors"),
    [("AACAPwAAAEA=", [[1.0, 2.0]]), ("AACAPw", None), ("AACAPwA=", None), ("", [])],
)
async def test_an_answer_that_holds_no_vectors_is_none(
    embedding: str, vectors: list[list[float]] | None
) -> None:
    engine = cast("Any", Engine(embedding))
    made = await EngineEmbedder("m", engine, engine, engine).embed(["x"])
    assert (made and [list(each) for each in made if each]) == vectors

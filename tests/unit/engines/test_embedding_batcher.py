"""Requests that share a model: what it is given, and what each of them gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from fondaco.engines.embeddings.batching import BATCH_TOKENS, Batcher, ClientLeft
from fondaco.engines.embeddings.tokens import Text

pytestmark = pytest.mark.anyio


class Model:
    """Turns a row into a unit vector that tells its first token; runs when it is let."""

    def __init__(self, *, open_: bool = True) -> None:
        self.batches: list[list[list[int]]] = []
        self.let = threading.Semaphore(10_000 if open_ else 0)
        self.at_work = threading.Event()
        self.fault: Exception | None = None

    def __call__(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        self.batches.append([list(row) for row in rows])
        self.at_work.set()
        assert self.let.acquire(timeout=20)
        if self.fault is not None:
            raise self.fault
        angles = np.array([row[0] / 100 for row in rows])
        return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)

    def batcher(self) -> Batcher:
        return Batcher(self, 2)

    async def busy(self) -> None:
        await asyncio.to_thread(self.at_work.wait, 20)


def text(*rows: list[int]) -> Text:
    return Text(list(rows), sum(map(len, rows)))


def nobody_left() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def angle(vector: np.ndarray) -> float:
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    return round(float(np.arctan2(vector[1], vector[0])) * 100, 3)


async def test_each_text_gets_its_own_vector_in_the_order_asked() -> None:
    model = Model()
    given = [text([first] * length) for first, length in ((5, 9), (80, 2), (33, 40), (12, 9))]
    vectors = await model.batcher().embed(given, nobody_left())
    assert [angle(vector) for vector in vectors] == [5, 80, 33, 12]


async def test_whoever_comes_first_waits_for_nobody() -> None:
    model = Model()
    await model.batcher().embed([text([7, 7])], nobody_left())
    assert model.batches == [[[7, 7]]]


async def test_a_crowd_that_comes_while_the_model_works_is_read_together() -> None:
    model = Model(open_=False)
    batcher = model.batcher()
    first = asyncio.ensure_future(batcher.embed([text([1, 1])], nobody_left()))
    await model.busy()
    crowd = [asyncio.ensure_future(batcher.embed([text([n, 2, 3])], nobody_left())) for n in range(30)]
    await asyncio.sleep(0)
    model.let.release(2)
    await first
    assert [angle((await each)[0]) for each in crowd] == list(range(30))
    assert [len(batch) for batch in model.batches] == [1, 30]


async def test_one_with_thousands_of_texts_does_not_hold_up_one_with_a_single_text() -> None:
    model = Model(open_=False)
    batcher = model.batcher()
    texts = [text([9] * 32) for _ in range(2048)]
    large = asyncio.create_task(batcher.embed(texts, nobody_left()))
    await model.busy()
    lone = asyncio.ensure_future(batcher.embed([text([50] * 6)], nobody_left()))
    await asyncio.sleep(0)
    model.let.release(2)
    assert angle((await lone)[0]) == 50
    assert len(model.batches) <= 3
    assert not large.done()
    model.let.release(10_000)
    assert len(await large) == 2048
    assert max(len(batch) * 32 for batch in model.batches) <= BATCH_TOKENS


async def test_the_windows_of_a_long_text_count_by_their_tokens() -> None:
    vectors = await Model().batcher().embed([text([0] * 30, [100] * 10), text([20])], nobody_left())
    mean = 30 * np.array([1, 0]) + 10 * np.array([np.cos(1), np.sin(1)])
    assert angle(vectors[0]) == pytest.approx(100 * np.arctan2(mean[1], mean[0]), abs=0.01)
    assert angle(vectors[1]) == 20


async def test_who_leaves_is_not_worked_for() -> None:
    model = Model(open_=False)
    batcher = model.batcher()
    first = asyncio.ensure_future(batcher.embed([text([1])], nobody_left()))
    await model.busy()
    left = nobody_left()
    leaver = asyncio.ensure_future(batcher.embed([text([2, n]) for n in range(500)], left))
    await asyncio.sleep(0)
    left.set_result(None)
    with pytest.raises(ClientLeft):
        await leaver
    model.let.release(10_000)
    await first
    stays = await batcher.embed([text([3])], nobody_left())
    assert angle(stays[0]) == 3
    assert model.batches == [[[1]], [[3]]]


async def test_a_cancelled_request_is_not_worked_for() -> None:
    model = Model(open_=False)
    batcher = model.batcher()
    first = asyncio.ensure_future(batcher.embed([text([1])], nobody_left()))
    await model.busy()
    leaver = asyncio.ensure_future(batcher.embed([text([2])], nobody_left()))
    await asyncio.sleep(0)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    model.let.release(10_000)
    await first
    assert model.batches == [[[1]]]


async def test_a_model_that_fails_once_serves_the_next() -> None:
    model = Model()
    batcher = model.batcher()
    model.fault = ValueError()
    with pytest.raises(ValueError):
        await batcher.embed([text([1])], nobody_left())
    model.fault = None
    assert angle((await batcher.embed([text([4])], nobody_left()))[0]) == 4


async def test_a_model_that_gives_too_few_vectors_fails_those_who_asked() -> None:
    batcher = Batcher(lambda rows: np.ones((1, 2), np.float32), 2)
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError):
            await batcher.embed([text([1]), text([2])], nobody_left())

"""Rows of all requests go through the model together, one batch at a time.

A batch holds what waits when the one before it ends: nobody waits for company, and a crowd finds itself together.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fondaco.engines.embeddings.encoder import unit
from fondaco.engines.embeddings.tokens import Text
from fondaco.engines.embeddings.waiting import Waiting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH_TOKENS = 512
"""The most that a batch holds: larger ones are no faster, as what they compute outgrows the processor's caches."""

LEAST_TOKENS = 32
"""What a batch may hold however slow the model is."""

BATCH_SECONDS = 0.25
"""How long a batch may take, by how fast the model was before."""

_NEW = 0.2
"""Weight of the last batch in the model's known pace."""


class ClientLeft(Exception):
    """Whoever asked has gone."""


class _Row:
    __slots__ = ("ids", "job", "text")

    def __init__(self, ids: Sequence[int], job: _Job, text: int) -> None:
        self.ids = ids
        self.job = job
        self.text = text

    @property
    def wanted(self) -> bool:
        return not self.job.done.done()


class _Job:
    """One request's texts."""

    __slots__ = ("done", "rows", "vectors", "waits_for")

    def __init__(self, texts: Sequence[Text], vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self.rows = [_Row(ids, self, index) for index, text in enumerate(texts) for ids in text.rows]
        self.waits_for = len(self.rows)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def leave(self, _: asyncio.Future[None]) -> None:
        if not self.done.done():
            self.done.set_exception(ClientLeft())

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Batcher:
    """Of one event loop. `encode` is called in threads of its own, which take batch after batch by themselves: while
    the loop answers for one, the next is under way.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Sequence[int]]], NDArray[np.float32]],
        dimensions: int,
        at_once: int = 1,
    ) -> None:
        """`at_once` batches may be encoded side by side."""
        self._numpy: Any = importlib.import_module("numpy")
        self._encode = encode
        self._dimensions = dimensions
        self._waiting: Waiting[_Row] = Waiting()
        self._idle = at_once
        self._lock = threading.Lock()
        """For the two above, which the loop and the threads share."""
        self._threads = ThreadPoolExecutor(at_once, "encoder")
        self._pace = BATCH_TOKENS / BATCH_SECONDS

    async def embed(self, texts: Sequence[Text], left: asyncio.Future[None]) -> NDArray[np.float32]:
        """Unit vectors, (texts, dimensions). Of a text with several rows, their mean by how many tokens each has.

        When `left` is done the client has gone: its rows are dropped, and ClientLeft is raised.
        """
        job = _Job(texts, self._numpy.zeros((len(texts), self._dimensions), self._numpy.float32))
        left.add_done_callback(job.leave)
        try:
            with self._lock:
                self._waiting.add(job.rows)
                begin = min(self._idle, len(job.rows))
                self._idle -= begin
            for _ in range(begin):
                self._threads.submit(self._run, asyncio.get_running_loop())
            await job.done
        finally:
            left.remove_done_callback(job.leave)
            job.done.cancel()
        return unit(job.vectors) if len(job.rows) > len(texts) else job.vectors

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while rows := self._next():
            began = time.perf_counter()
            try:
                vectors = self._encode([row.ids for row in rows])
            except Exception as error:
                loop.call_soon_threadsafe(_fail, rows, error)
            else:
                loop.call_soon_threadsafe(_deliver, rows, vectors)
                self._note(rows, time.perf_counter() - began)

    def _next(self) -> list[_Row]:
        with self._lock:
            rows = self._waiting.take(self._tokens())
            self._idle += not rows
            return rows

    def _tokens(self) -> int:
        return max(LEAST_TOKENS, min(BATCH_TOKENS, int(self._pace * BATCH_SECONDS)))

    def _note(self, rows: Sequence[_Row], seconds: float) -> None:
        pace = sum(len(row.ids) for row in rows) / max(seconds, 1e-6)
        self._pace += _NEW * (pace - self._pace)


def _fail(rows: Sequence[_Row], error: Exception) -> None:
    for row in rows:
        row.job.fail(error)


def _deliver(rows: Sequence[_Row], vectors: Any) -> None:
    if len(vectors) != len(rows):
        _fail(rows, RuntimeError("the model has lost a row"))
        return
    for row, vector in zip(rows, vectors, strict=True):
        job = row.job
        whole = len(job.rows) == len(job.vectors)
        job.vectors[row.text] += vector if whole else len(row.ids) * vector
        job.waits_for -= 1
        if not job.waits_for and not job.done.done():
            job.done.set_result(None)

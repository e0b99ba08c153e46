"""Searches the operator's index: by words, and by meaning where vectors are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import nlargest, nsmallest
from math import log
from pathlib import Path
from typing import TypeVar

from fondaco.augment.index.store import FILE_NAME, Hit, IndexBroken, IndexStore
from fondaco.augment.meaning import Embedder, Vector, code, product, unit
from fondaco.augment.results import MAX_CONTENT, Result, shortened
from fondaco.augment.words import content_words
from fondaco.telemetry.logs import logger

T = TypeVar("T")

EMBED_SECONDS = 3.0
LOOK_SECONDS = 5.0
"""How often a running server looks for what the command line has added."""
BATCH = 16

_BY_WORDS = 60
_BY_MEANING = 120
_PASSAGES_OF_A_DOCUMENT = 3

# What having the query's words adds to the cosine. Having all of them is worth more than any likeness in meaning; half of
# them, next to nothing: whoever asks in his own words meets some of them by chance. Chosen with `bench.augment.index`.
_WORDS_WEIGHT = 0.4
_WORDS_POWER = 4
# Below both it is about something else.
_LEAST_COSINE = 0.25
_LEAST_SHARE = 0.4

_log = logger(__name__)


class Index:
    """Belongs to one event loop. The file is opened when it is there and first needed."""

    def __init__(self, data_dir: Path, embedder: Embedder | None = None) -> None:
        self._data_dir = data_dir
        self._embedder = embedder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._store: IndexStore | None = None
        self._codes: tuple[list[int], list[int]] = ([], [])
        self._codes_of: tuple[str, int] | None = None
        self._own_writes = 0

    async def search(self, query: str, limit: int) -> list[Result] | None:
        """Results by document, those passages of it that fit the query as its content. None where there is no index,
        nothing in it, or it cannot be read."""
        hits = await self.hits(query, limit * 2)
        return None if hits is None else _by_document(hits)[:limit]

    async def hits(self, query: str, limit: int) -> list[Hit] | None:
        """Passages, the best first; None as `search`."""
        try:
            if not await self._run(self._count):
                return None
            vector = await self._vector(query)
            return await self._run(self._find, query, vector, limit)
        except IndexBroken:
            _log.error("index.unusable")
            return None

    async def keep_embedded(self) -> None:
        """Give every passage its vector, as passages come; for as long as it is let run."""
        seen: int | None = None
        while self._embedder is not None:
            try:
                revision = await self._run(self._revision)
                if revision is not None and revision != seen and await self._embed_all(self._embedder):
                    seen = revision
            except IndexBroken:
                _log.error("index.unusable")
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        def shut() -> None:
            if self._store is not None:
                self._store.close()
                self._store = None

        await self._run(shut)
        self._thread.shutdown()

    async def _vector(self, query: str) -> list[float] | None:
        if self._embedder is None:
            return None
        try:
            async with asyncio.timeout(EMBED_SECONDS):
                vectors = await self._embedder.embed([query])
        except TimeoutError:
            return None
        return unit(vectors[0]) if vectors else None

    async def _embed_all(self, embedder: Embedder) -> bool:
        """False where some are left, because there is no model now."""
        model = embedder.model
        while batch := await self._run(self._without_vector, model):
            vectors = await embedder.embed([text for _, text in batch])
            if vectors is None or len(vectors) != len(batch):
                return False
            await self._run(
                self._put_vectors,
                model,
                [(passage_id, unit(vector)) for (passage_id, _), vector in zip(batch, vectors, strict=True)],
            )
        return True

    # In the thread.

    def _opened(self) -> IndexStore | None:
        if self._store is None and (self._data_dir / FILE_NAME).is_file():
            self._store = IndexStore(self._data_dir)
        return self._store

    def _count(self) -> int:
        store = self._opened()
        return 0 if store is None else store.count()

    def _revision(self) -> int | None:
        store = self._opened()
        return None if store is None else store.revision()

    def _without_vector(self, model: str) -> list[tuple[int, str]]:
        store = self._opened()
        return [] if store is None else store.without_vector(model, BATCH)

    def _put_vectors(self, model: str, vectors: Sequence[tuple[int, Vector]]) -> None:
        store = self._opened()
        if store is not None:
            store.put_vectors(model, vectors)
            self._own_writes += 1

    def _find(self, query: str, vector: list[float] | None, limit: int) -> list[Hit]:
        store = self._opened()
        assert store is not None
        words = sorted(set(content_words(query)))
        shares = _shares(store.holders(words), store.count())
        if vector is None or self._embedder is None:
            found = store.by_words(words, _BY_WORDS)
            return store.hits([each for each in found if shares.get(each, 0) >= _LEAST_SHARE][:limit])
        model = self._embedder.model
        candidates = {*nlargest(_BY_WORDS, shares, shares.__getitem__), *self._near(store, model, vector)}
        cosines = {
            passage_id: product(vector, other)
            for passage_id, other in store.vectors(sorted(candidates), model).items()
        }
        scores = {
            each: cosines.get(each, 0.0) + _WORDS_WEIGHT * shares.get(each, 0.0) ** _WORDS_POWER
            for each in candidates
            if cosines.get(each, 0.0) >= _LEAST_COSINE or shares.get(each, 0.0) >= _LEAST_SHARE
        }
        return store.hits(sorted(scores, key=lambda each: (-scores[each], each))[:limit])

    def _near(self, store: IndexStore, model: str, vector: Vector) -> list[int]:
        """Passages whose signs differ least."""
        state = (model, store.revision() + (self._own_writes << 32))
        if self._codes_of != state:
            self._codes = store.codes(model)
            self._codes_of = state
        ids, codes = self._codes
        mine = code(vector)
        differing = [(mine ^ other).bit_count() for other in codes]
        if not differing:
            return []
        # The bound under which there are about enough; to sort pairs would take longer.
        bound = nsmallest(_BY_MEANING, differing)[-1]
        return [ids[at] for at, count in enumerate(differing) if count <= bound]

    async def _run(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)


def _shares(holders: Mapping[str, Collection[int]], count: int) -> dict[int, float]:
    """Which part of the words each passage has, from 0 to 1, if it has any: a word counts as much as it is rare."""
    weights = {word: log(1 + count / (1 + len(found))) for word, found in holders.items()}
    whole = sum(weights.values()) or 1.0
    shares: dict[int, float] = {}
    for word, found in holders.items():
        part = weights[word] / whole
        for passage_id in found:
            shares[passage_id] = shares.get(passage_id, 0.0) + part
    return shares


def _by_document(hits: Sequence[Hit]) -> list[Result]:
    documents: dict[str, list[Hit]] = {}
    for hit in hits:
        documents.setdefault(hit.url, []).append(hit)
    return [
        Result(
            title=found[0].title,
            url=url,
            content=shortened(
                "\n…\n".join(hit.text for hit in found[:_PASSAGES_OF_A_DOCUMENT]), 2 * MAX_CONTENT
            ),
            date=found[0].date,
        )
        for url, found in documents.items()
    ]

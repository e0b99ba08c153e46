"""Results by relevance: what their provider thought, the words of the query, and its meaning, each with one voice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log

from fondaco.augment.meaning import Embedder, product, unit
from fondaco.augment.results import Result
from fondaco.augment.words import content_words

EMBED_SECONDS = 2.0

_RANK_OFFSET = 60
"""Of reciprocal rank fusion, as its authors have it: no single first place outweighs two second ones."""
_TITLE_WEIGHT = 2
_SATURATION = 1.2
_EMBEDDED = 400
"""Characters of a result that are looked at for its meaning."""


async def ranked(query: str, results: Sequence[Result], embedder: Embedder | None) -> list[Result]:
    """The most relevant first. `results` are in their provider's order."""
    if len(results) < 2:
        return list(results)
    orders = [range(len(results)), _by_words(query, results)]
    if embedder is not None and (meant := await _by_meaning(query, results, embedder)) is not None:
        orders.append(meant)
    return [results[at] for at in fused(orders, len(results))]


def fused(orders: Iterable[Sequence[int]], count: int) -> list[int]:
    """Several orders of the same things as one; a thing that an order does not name has no place in it."""
    scores = [0.0] * count
    for order in orders:
        for rank, at in enumerate(order):
            scores[at] += 1 / (_RANK_OFFSET + rank)
    return sorted(range(count), key=lambda at: -scores[at])


def _by_words(query: str, results: Sequence[Result]) -> list[int]:
    """By the query's words in them, rare ones first, as BM25 does among these results alone. None of them, no place."""
    wanted = set(content_words(query))
    counts: list[Counter[str]] = []
    for each in results:
        words = Counter(content_words(each.content))
        for word in content_words(each.title):
            words[word] += _TITLE_WEIGHT
        counts.append(words)
    scores = [0.0] * len(results)
    for word in wanted:
        holders = sum(word in words for words in counts)
        weight = log(1 + (len(results) - holders + 0.5) / (holders + 0.5))
        for at, words in enumerate(counts):
            scores[at] += weight * words[word] / (words[word] + _SATURATION)
    return sorted((at for at, score in enumerate(scores) if score > 0), key=lambda at: -scores[at])


async def _by_meaning(query: str, results: Sequence[Result], embedder: Embedder) -> list[int] | None:
    texts = [query, *(f"{each.title}. {each.content}"[:_EMBEDDED] for each in results)]
    try:
        async with asyncio.timeout(EMBED_SECONDS):
            vectors = await embedder.embed(texts)
    except TimeoutError:
        return None
    if vectors is None or len(vectors) != len(texts):
        return None
    asked, *found = map(unit, vectors)
    scores = [product(asked, vector) for vector in found]
    return sorted(range(len(results)), key=lambda at: -scores[at])

"""Search: the web by the operator's providers, beside his own index; relevant, dated, each thing once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fondaco.augment.meaning import Embedder
from fondaco.augment.providers.provider import Provider, ProviderFailed
from fondaco.augment.ranking import ranked
from fondaco.augment.results import Result, distinct
from fondaco.content import Sealed
from fondaco.telemetry.logs import logger

MAX_QUERY = 400
MAX_RESULTS = 20
INDEX_SECONDS = 5.0

_log = logger(__name__)


class Found(Sealed):
    """`error` says, in a sentence for the caller, why nobody answered; None where somebody did, if only that there is
    nothing. `results` are empty then."""

    results: list[Result]
    error: str | None = None


class LocalIndex(Protocol):
    """What the operator has put into his index; see `fondaco.augment.index`."""

    async def search(self, query: str, limit: int) -> list[Result] | None:
        """None where there is no index, or nothing in it."""
        ...


class Search:
    def __init__(
        self,
        providers: Sequence[Provider],
        index: LocalIndex | None = None,
        embedder: Embedder | None = None,
        *,
        max_results: int = 10,
    ) -> None:
        """Providers are asked in turn, until one has results; the index always."""
        self._providers = tuple(providers)
        self._index = index
        self._embedder = embedder
        self._max_results = max_results

    async def search(self, query: str, limit: int | None = None, *, first: str | None = None) -> Found:
        """The best `limit` results. `first` is the name of a provider to ask before the others, if it is one of them.

        Raises nothing: where nobody answers, `Found.error` says so.
        """
        wanted = max(1, min(limit or self._max_results, MAX_RESULTS))
        query = " ".join(query.split())[:MAX_QUERY]
        if not query:
            return Found([], "There is nothing to search for.")
        (results, failures), local = await asyncio.gather(
            self._from_web(query, wanted, first), self._from_index(query, wanted)
        )
        if results is None and local is None:
            return Found([], _sentence(failures))
        # Of what both have, the operator's own is whole and the web's an extract.
        all_results = distinct([*_interleaved(local or [], results or [])])
        # The index has its own in order: to compare their meanings again takes longer than to find them.
        if results:
            all_results = await ranked(query, all_results, self._embedder)
        return Found(all_results[:wanted])

    async def _from_web(
        self, query: str, limit: int, first: str | None
    ) -> tuple[list[Result] | None, dict[str, str]]:
        """Results, None if nobody answered; and who failed for which reason."""
        answered: list[Result] | None = None
        failures: dict[str, str] = {}
        for provider in sorted(self._providers, key=lambda provider: provider.name != first):
            try:
                answered = list(await provider.search(query, limit))
            except ProviderFailed as failed:
                failures[provider.name] = failed.reason
                _log.warning("search.provider_failed", source=provider.name, reason=failed.reason)
                continue
            except Exception as error:  # whatever is wrong with it, others may be right
                failures[provider.name] = "no usable answer"
                _log.error("search.provider_crashed", source=provider.name, exc_info=error)
                continue
            if answered:
                break
        return answered, failures

    async def _from_index(self, query: str, limit: int) -> list[Result] | None:
        if self._index is None:
            return None
        try:
            async with asyncio.timeout(INDEX_SECONDS):
                return await self._index.search(query, limit)
        except TimeoutError:
            _log.warning("search.index_slow")
        except Exception as error:
            _log.error("search.index_crashed", exc_info=error)
        return None


def _interleaved(one: Sequence[Result], other: Sequence[Result]) -> list[Result]:
    both: list[Result] = []
    for at in range(max(len(one), len(other))):
        both += (*one[at : at + 1], *other[at : at + 1])
    return both


def _sentence(failures: dict[str, str]) -> str:
    if not failures:
        return "No search provider is set up on this server."
    return f"No search provider answered ({', '.join(f'{name}: {why}' for name, why in failures.items())})."

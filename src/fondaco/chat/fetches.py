"""What the URLs in one request's parts lead to: each fetched once, a few at a time, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol, TypeAlias

from fondaco.augment.turns import Turns
from fondaco.net.errors import TooLarge, TooSlow
from fondaco.net.fetching import MAX_REDIRECTS, Fetched

MAX_BYTES = 64 * 1024 * 1024
"""Of all that a request names by URL, once for each part in which it stands."""


class Fetching(Protocol):
    """See `fondaco.net.fetching`."""

    async def fetch(
        self, url: str, *, accept: str = "*/*", max_bytes: int | None = None, redirects: int = MAX_REDIRECTS
    ) -> Fetched: ...


class Kind(NamedTuple):
    """How one kind of part is fetched."""

    accept: str
    max_bytes: int | None = None
    """None: as much as the fetcher allows."""
    redirects: int = MAX_REDIRECTS


Wanted: TypeAlias = tuple[str, Kind]
"""A URL, and as what it is fetched."""


class Fetches:
    """`begin` them all, then `take` each as it is needed. Leaving the context ends what is still under way."""

    def __init__(self, fetcher: Fetching, turns: Turns, account: str, deadline: float) -> None:
        """`deadline` by the loop's clock; to wait for a turn counts too."""
        self._fetcher = fetcher
        self._turns = turns
        self._account = account
        self._deadline = deadline
        self._left = MAX_BYTES
        self._tasks: dict[Wanted, asyncio.Task[Fetched]] = {}
        self._taken: set[Wanted] = set()

    async def __aenter__(self) -> Fetches:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def begin(self, wanted: Wanted) -> None:
        if wanted not in self._tasks:
            self._tasks[wanted] = asyncio.create_task(self._fetched(wanted))

    async def take(self, wanted: Wanted) -> Fetched:
        """What was begun. Raises FetchError."""
        found = await self._tasks[wanted]
        if wanted in self._taken:
            # It is put into the engine's request once more.
            self._count(len(found.body))
        self._taken.add(wanted)
        return found

    async def _fetched(self, wanted: Wanted) -> Fetched:
        url, kind = wanted
        try:
            async with asyncio.timeout_at(self._deadline), self._turns.turn(self._account):
                self._count(0)
                found = await self._fetcher.fetch(
                    url, accept=kind.accept, max_bytes=kind.max_bytes, redirects=kind.redirects
                )
        except TimeoutError:
            raise TooSlow from None
        self._count(len(found.body))
        return found

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge(f"all that a request names by URL may have {MAX_BYTES // 2**20} MiB together")

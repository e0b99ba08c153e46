"""`/billing/usage-history`: the ledger walked from its oldest row on, page after page, while it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from fondaco.billing.reports import dates, store
from fondaco.billing.reports.cursors import Cursors, Place
from fondaco.billing.reports.store import Selection, Transfer
from fondaco.billing.reports.wire import HistoryQuery
from fondaco.clock import Clock
from fondaco.store.interface import Store

EXPORT_PAGE = 1000


class HistoryPage(msgspec.Struct, frozen=True):
    transfers: list[Transfer]
    next_cursor: str | None
    """None on the last page, as far as the ledger goes now."""


class History:
    def __init__(self, database: Store, clock: Clock, secret: bytes) -> None:
        """`secret` is the server's: cursors are made under a key derived from it."""
        self._database = database
        self._clock = clock
        self._cursors = Cursors(secret)

    async def begin(self, account_id: str, query: HistoryQuery) -> HistoryPage:
        """The first page. Raises InvalidRequest for times that make no sense."""
        since = _time(query.start_timestamp, "startTimestamp")
        until = _time(query.end_timestamp, "endTimestamp")
        dates.in_order(since, until, "endTimestamp", "startTimestamp")
        return await self._page(Selection(account_id, query.currency, since, until), None, query.page_size)

    async def follow(self, account_id: str, cursor: str) -> HistoryPage:
        """The page after the one that `cursor` came with. Raises InvalidCursor."""
        place = self._cursors.read(account_id, cursor, self._clock.unix())
        of = Selection(account_id, place.currency, until=place.until)
        return await self._page(of, (place.at, place.id), place.page_size)

    async def _page(self, of: Selection, position: tuple[int, int] | None, size: int) -> HistoryPage:
        # One more than is shown tells whether there is another page.
        found = await self._database.read(
            lambda connection: store.following(connection, of, position, size + 1)
        )
        shown = found[:size]
        if len(found) == len(shown):
            return HistoryPage(shown, None)
        last = shown[-1]
        place = Place(of.currency, of.until, size, last.at, last.id)
        return HistoryPage(shown, self._cursors.make(of.account_id, place, self._clock.unix()))


async def everything(
    database: Store, account_id: str, since: int, until: int
) -> AsyncIterator[list[Transfer]]:
    """All of an account's ledger from `since` on and before `until` (Unix milliseconds), some rows at a time."""
    of = Selection(account_id, since=since, until=until)
    position: tuple[int, int] | None = None
    while True:
        at = position
        found = await database.read(
            lambda connection, at=at: store.following(connection, of, at, EXPORT_PAGE)
        )
        if found:
            yield found
        if len(found) < EXPORT_PAGE:
            return
        position = found[-1].at, found[-1].id


def _time(text: str | None, field: str) -> int | None:
    return None if text is None else dates.utc(text, field)

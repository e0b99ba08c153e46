"""`/billing/usage`: the ledger by numbered pages."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
from sqlalchemy import Connection

from fondaco.billing.reports import dates, store
from fondaco.billing.reports.store import Counted, Selection, Transfer
from fondaco.billing.reports.wire import Pagination, UsageQuery
from fondaco.clock import Clock
from fondaco.store.interface import Store

COUNTS_KEPT = 512
COUNTS_SECONDS = 600


class UsagePage(msgspec.Struct, frozen=True):
    transfers: list[Transfer]
    pagination: Pagination


class UsagePages:
    """Pages of an account's ledger, and how many there are.

    To count a million rows takes longer than to read a page of them, and what is in the ledger stays: a count is
    kept and only what came since is added to it. It is taken anew after ten minutes, for a database with several
    writers may show rows in another order than it numbered them.
    """

    def __init__(self, database: Store, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._counts: OrderedDict[Selection, tuple[int, Counted]] = OrderedDict()

    async def page(self, account_id: str, query: UsageQuery) -> UsagePage:
        """Raises InvalidRequest for dates that make no sense. `endDate` is included."""
        since = None if query.start_date is None else dates.start_of(query.start_date, "startDate")
        until = None if query.end_date is None else dates.end_of(query.end_date, "endDate")
        dates.in_order(since, until, "endDate", "startDate")
        of = Selection(account_id, query.currency, since, until)
        counted_at, known = self._known(of)
        first = (query.page - 1) * query.limit

        def read(connection: Connection) -> tuple[Counted, list[Transfer]]:
            counted = store.count(connection, of, known)
            newest_first = query.sort_order == "desc"
            return counted, store.page(
                connection,
                of,
                first=first,
                size=query.limit,
                total=counted.count,
                newest_first=newest_first,
            )

        counted, transfers = await self._database.read(read)
        self._keep(of, counted_at, counted)
        total = counted.count
        return UsagePage(transfers, Pagination(query.limit, query.page, total, -(-total // query.limit)))

    def _known(self, of: Selection) -> tuple[int, Counted | None]:
        now = int(self._clock.monotonic())
        at, known = self._counts.get(of, (now, None))
        return (now, None) if now - at >= COUNTS_SECONDS else (at, known)

    def _keep(self, of: Selection, at: int, counted: Counted) -> None:
        self._counts[of] = (at, counted)
        self._counts.move_to_end(of)
        if len(self._counts) > COUNTS_KEPT:
            self._counts.popitem(last=False)

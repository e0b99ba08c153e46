"""GET /billing/usage, /billing/usage-history, /billing/balance and /billing/usage-analytics (CONTRACT 11)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from fondaco.billing.line import Currency
from fondaco.billing.reports import csv_export
from fondaco.billing.reports.analytics import Analytics
from fondaco.billing.reports.balance import BalanceReport
from fondaco.billing.reports.cursors import InvalidCursor
from fondaco.billing.reports.history import History
from fondaco.billing.reports.usage import UsagePages
from fondaco.billing.reports.wire import (
    AnalyticsAnswer,
    AnalyticsQuery,
    BalanceAnswer,
    HistoryAnswer,
    HistoryQuery,
    UsageAnswer,
    UsageQuery,
    entry,
    usage_answer,
)
from fondaco.clock import Clock
from fondaco.errors import InvalidRequest, Issue
from fondaco.http.call import Call
from fondaco.http.openapi import Operation, Query
from fondaco.http.reply import Header, Reply, json_reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode

T = TypeVar("T")

_INTEGERS = {"limit", "page", "pageSize"}
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)


def routes(
    usage: UsagePages, history: History, balance: BalanceReport, analytics: Analytics, clock: Clock
) -> list[Route]:
    async def get_usage(call: Call) -> Reply:
        """GET /billing/usage: the ledger by numbered pages (CONTRACT 16, row 30)."""
        found = await usage.page(call.identified.account_id, _read(call.query(), UsageQuery))
        at = found.pagination
        headers: tuple[Header, ...] = (
            (b"x-pagination-limit", b"%d" % at.limit),
            (b"x-pagination-page", b"%d" % at.page),
            (b"x-pagination-total", b"%d" % at.total),
            (b"x-pagination-total-pages", b"%d" % at.total_pages),
        )
        if _wants_csv(call):
            exported = csv_export.export(map(entry, found.transfers))
            return _csv_reply(exported, "billing_usage.csv", headers)
        return Reply(msgspec.json.encode(usage_answer(found.transfers, at)), headers=(_VARY, *headers))

    async def get_history(call: Call) -> Reply:
        """GET /billing/usage-history: the ledger walked by cursor."""
        account_id = call.identified.account_id
        asked = call.query()
        if (cursor := asked.pop("cursor", None)) is not None:
            if asked:
                _read(asked, HistoryQuery)
                raise _not_beside_a_cursor(asked)
            if not cursor:
                raise InvalidCursor
            found = await history.follow(account_id, cursor)
        else:
            found = await history.begin(account_id, _read(asked, HistoryQuery))
        entries = map(entry, found.transfers)
        if not _wants_csv(call):
            answer = HistoryAnswer(list(entries), found.next_cursor)
            return Reply(msgspec.json.encode(answer), headers=(_VARY,))
        headers: tuple[Header, ...] = ()
        if found.next_cursor is not None:
            headers = ((b"x-next-cursor", found.next_cursor.encode()),)
        name = f"billing-usage-history-{_stamp(clock.now())}.csv"
        return _csv_reply(csv_export.export(entries), name, headers)

    async def get_balance(call: Call) -> Reply:
        """GET /billing/balance."""
        return json_reply(await balance.of(call.identified.account_id))

    async def get_analytics(call: Call) -> Reply:
        """GET /billing/usage-analytics."""
        return Reply(await analytics.report(call.identified.account_id, _read(call.query(), AnalyticsQuery)))

    return [
        Route(
            get_usage,
            _about(
                "/billing/usage",
                "What was spent, by numbered pages",
                UsageAnswer,
                Query("currency", Literal["USD", "VCU", "DIEM"], "Only what was paid in this currency"),
                Query("startDate", str, "ISO 8601 day or time, included"),
                Query("endDate", str, "ISO 8601 day or time, included"),
                Query("limit", Annotated[int, Meta(ge=1, le=500)], "Entries per page; 200 if absent"),
                Query("page", Annotated[int, Meta(ge=1)], "From 1"),
                Query("sortOrder", Literal["asc", "desc"], "By time; `desc` if absent"),
                description=f"{_SIGNS} `Accept: text/csv` gets the page as a CSV file.",
                export=_CSV,
            ),
        ),
        Route(
            get_history,
            _about(
                "/billing/usage-history",
                "What was spent, oldest first, page after page by cursor",
                HistoryAnswer,
                Query("startTimestamp", str, "ISO 8601 in UTC with `Z`, included"),
                Query("endTimestamp", str, "ISO 8601 in UTC with `Z`, excluded"),
                Query("currency", Currency, "Only what was paid in this currency"),
                Query("pageSize", Annotated[int, Meta(ge=10, le=1000)], "1000 if absent"),
                Query("cursor", str, "The `nextCursor` of the page before, and nothing beside it"),
                description=f"{_SIGNS} `Accept: text/csv` gets the page as a CSV file, and the cursor of the next "
                "one in `x-next-cursor`.",
                export=_CSV,
            ),
        ),
        Route(get_balance, _about("/billing/balance", "What is there to spend", BalanceAnswer)),
        Route(
            get_analytics,
            _about(
                "/billing/usage-analytics",
                "Use by day, model and key",
                AnalyticsAnswer,
                Query("lookback", str, "`Nd`: the last N days, today included; at most 90d, 7d if absent"),
                Query("startDate", str, "YYYY-MM-DD, included; with endDate, instead of lookback"),
                Query("endDate", str, "YYYY-MM-DD, included"),
                description="Days are of UTC. Answers are kept for ten minutes. Bundled credits count as USD.",
                errors=(504,),
            ),
        ),
    ]


_SIGNS = (
    "An amount below zero was spent, one above zero came in; top-ups and the daily DIEM are entries too, "
    "so that amounts add up to the balance's change."
)
_CSV = "text/csv"
_VARY: Header = (b"vary", b"accept")


def _about(
    path: str,
    summary: str,
    answer: Any,
    *query: Query,
    description: str = "",
    errors: tuple[int, ...] = (),
    export: str | None = None,
) -> Operation:
    return Operation(
        method="GET",
        path=path,
        summary=summary,
        description=description,
        tag="Billing",
        access="admin",
        answer=answer,
        export=export,
        query=query,
        errors=(400, *errors) if query else errors,
    )


def _read(query: dict[str, str], type_: type[T]) -> T:
    """The query as a `type_`, by the same reading that bodies get. Raises InvalidRequest."""
    fields = {
        name: msgspec.Raw(text.encode()) if name in _INTEGERS and _INTEGER.fullmatch(text) else text
        for name, text in query.items()
    }
    return decode(msgspec.json.encode(fields), type_)


def _not_beside_a_cursor(names: Iterable[str]) -> InvalidRequest:
    message = "Not beside a cursor, which carries the filters of its walk"
    return InvalidRequest([Issue(code="custom", path=(name,), message=message) for name in names])


def _wants_csv(call: Call) -> bool:
    """`Accept` names text/csv, and not only as second to JSON."""
    accepted = call.headers.get(b"accept", b"").decode("latin-1").lower()
    if "text/csv" not in accepted:
        return False
    weights = dict(map(_weight, accepted.split(",")))
    return 0 < weights.get("text/csv", 0) >= weights.get("application/json", 0)


def _weight(media_range: str) -> tuple[str, int]:
    """A media type and its weight in thousandths; a weight that is none counts as whole."""
    name, *parameters = media_range.replace(" ", "").replace("\t", "").split(";")
    for parameter in parameters:
        if found := re.fullmatch(r"q=([01])(?:\.(\d{0,3}))?", parameter, re.ASCII):
            return name, min(1000, int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0")))
    return name, 1000


def _csv_reply(body: bytes, filename: str, headers: tuple[Header, ...]) -> Reply:
    disposition: Header = (b"content-disposition", b"attachment; filename=%b" % filename.encode())
    return Reply(
        body,
        content_type=b"text/csv; charset=utf-8",
        headers=(_VARY, disposition, *headers),
        compressible=False,
    )


def _stamp(now: datetime) -> str:
    """`20260708T091530123Z`."""
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03}Z"

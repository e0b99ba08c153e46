"""The hot half of the ledger's SQL: all that one commit of settlements writes, in as few statements as there can be.

A row costs the driver's call as much as SQLite itself, and each call gives the interpreter away once, so rows go in
by many at a time. The statements are plain SQL that SQLite and PostgreSQL both read; only their marks for values
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from fondaco.billing import epochs
from fondaco.billing.store import LeasesLost
from fondaco.billing.walls import counts_as

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPICursor

    from fondaco.billing.settling import Settlement

_SIZES: Final = (64, 48, 32, *range(16, 0, -1))
"""Rows of one statement: few enough sizes for a driver to keep each prepared, and most commits need one or two."""

_NOTE: Final = "API Inference"


def post(
    connection: Connection, settlements: Sequence[Settlement], *, gateway_id: str, book: str, now: int
) -> None:
    """Write what was charged: usage rows, the sums of their days, and walls and leases that are so much less.

    `book` is the account's that is debited, `now` Unix milliseconds. What was held in a window that is over is dated
    to its last moment, and where the clock was set back, to its first. Raises LeasesLost if this gateway does not
    have the leases any more.
    """
    rows: list[object] = []
    days: dict[tuple[str, int, str, str, str], dict[str, _Sum]] = {}
    spent: dict[str, int] = {}
    beyond: dict[tuple[str, str, int, str], int] = {}
    today = now // _DAY
    for settlement in settlements:
        ticket, option, use = settlement.ticket, settlement.option, settlement.use
        account_id, key_id = ticket.caller.account_id, ticket.caller.key_id
        request_id, model_id, currency = ticket.request_id, settlement.model_id, option.currency
        prompt, completion, took = use.prompt_tokens, use.completion_tokens, use.execution_ms
        at, day = now, today
        if now >= option.until * 1000:
            at = option.until * 1000 - 1
            day = at // _DAY
        elif now < option.since:  # the clock was set back meanwhile
            at = option.since
            day = at // _DAY
        by_sku = days.get(of := (account_id, day, key_id, model_id, currency))
        if by_sku is None:
            by_sku = days[of] = {}
        for line, amount in zip(settlement.bill, settlement.amounts, strict=True):
            sku, units, per = line.sku, line.units, line.per
            rows += (
                at, account_id, currency, amount, key_id, request_id, model_id, sku, line.price, units, per,
                prompt, completion, took,
            )  # fmt: skip
            total = by_sku.get(sku)
            if total is None:
                total = by_sku[sku] = _Sum()
            total.amount += amount
            total.units += units
            total.per = per
            total.requests += 1
        if charged := settlement.amount:
            if not settlement.expired:
                for wall_id in option.wall_ids:
                    spent[wall_id] = spent.get(wall_id, 0) + charged
            key = (key_id, counts_as(currency), day, option.key_wall)
            beyond[key] = beyond.get(key, 0) + charged
    cursor = connection.connection.cursor()
    mark = _MARKS[connection.dialect.paramstyle]
    try:
        _insert(cursor, mark, _TRANSFERS.replace("'tab'", f"'{book}'"), "", _TRANSFER_WIDTH, rows)
        sums_of_days = [
            value
            for of, by_sku in days.items()
            for sku, total in by_sku.items()
            for value in (*of, sku, total.amount, total.units, total.per, total.requests)
        ]
        _insert(cursor, mark, _DAYS, _DAYS_AGAIN, _DAY_WIDTH, sums_of_days)
        if spent:
            _spend(cursor, mark, gateway_id, spent)
        if beyond:
            counted = [
                (n, n, n, n, n, key_id, currency, day * _DAY, _month(day), held)
                for (key_id, currency, day, held), n in beyond.items()
            ]
            cursor.executemany(_marked(_COUNT_FOR_KEY, mark), counted)
    finally:
        cursor.close()


class _Sum:
    """What one day's lines of one kind come to."""

    __slots__ = ("amount", "per", "requests", "units")

    def __init__(self) -> None:
        self.amount = self.units = self.per = self.requests = 0


_DAY: Final = epochs.DAY_SECONDS * 1000

_TRANSFERS: Final = (
    "INSERT INTO transfers (kind, debit, credit, note, at, account_id, currency, amount, key_id, request_id, model_id,"
    f" sku, price, units, per, prompt_tokens, completion_tokens, execution_ms) VALUES |('usage', 'tab', 'sales', '{_NOTE}', "
)
_TRANSFER_WIDTH: Final = 14

_DAYS: Final = "INSERT INTO usage_days (account_id, day, key_id, model_id, currency, sku, amount, units, per, requests) VALUES |("
_DAY_WIDTH: Final = 10
_DAYS_AGAIN: Final = (
    " ON CONFLICT (account_id, day, key_id, model_id, sku, currency) DO UPDATE SET"
    " amount = usage_days.amount + excluded.amount, units = usage_days.units + excluded.units,"
    " per = excluded.per, requests = usage_days.requests + excluded.requests"
)

_SPEND: Final = "UPDATE walls SET leased = leased - ?, spent = spent + ? WHERE id = ?"
_SPEND_LEASE: Final = "UPDATE leases SET amount = amount - ? WHERE wall_id = ? AND gateway_id = ?"

_COUNT_FOR_KEY: Final = (
    "UPDATE walls SET spent = spent + ?, excess = excess + CASE WHEN free < ? THEN ? - free ELSE 0 END,"
    " free = CASE WHEN free < ? THEN 0 ELSE free - ? END"
    " WHERE owner = ? AND kind = 'key' AND currency = ? AND window_start IN (0, ?, ?) AND id <> ?"
)
"""What a key is charged counts for its other walls too: its limit, or the period of it, may be younger than the hold."""

_Mark = Callable[[int], str]

_MARKS: Final[dict[str, _Mark]] = {
    "qmark": lambda n: "?",
    "format": lambda n: "%s",
    "pyformat": lambda n: "%s",
    "numeric_dollar": lambda n: f"${n}",
}


def _month(day: int) -> int:
    return epochs.month(day * epochs.DAY_SECONDS).start


def _spend(cursor: DBAPICursor, mark: _Mark, gateway_id: str, spent: dict[str, int]) -> None:
    by_lease = [(amount, wall_id, gateway_id) for wall_id, amount in spent.items()]
    cursor.executemany(_marked(_SPEND_LEASE, mark), by_lease)
    if cursor.rowcount != len(by_lease):
        raise LeasesLost
    cursor.executemany(
        _marked(_SPEND, mark), [(amount, amount, wall_id) for wall_id, amount in spent.items()]
    )


def _insert(
    cursor: DBAPICursor, mark: _Mark, statement: str, again: str, width: int, values: list[Any]
) -> None:
    """All rows of `values`, `width` values each, by as many at once as there are sizes for."""
    for first, count in _chunks(len(values) // width):
        part = values[first * width : (first + count) * width]
        cursor.execute(_rows(statement, again, width, count, mark), part)


def _chunks(rows: int) -> Iterator[tuple[int, int]]:
    first = 0
    for size in _SIZES:
        while rows - first >= size:
            yield first, size
            first += size


@lru_cache(maxsize=128)
def _rows(statement: str, again: str, width: int, count: int, mark: _Mark) -> str:
    head, row = statement.split("|")
    each = [row + ", ".join(mark(n * width + m + 1) for m in range(width)) + ")" for n in range(count)]
    return head + ", ".join(each) + again


@lru_cache(maxsize=128)
def _marked(statement: str, mark: _Mark) -> str:
    first, *others = statement.split("?")
    return first + "".join(mark(n) + part for n, part in enumerate(others, 1))

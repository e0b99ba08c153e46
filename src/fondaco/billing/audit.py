"""What must be true of the books at any moment, and what of it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fondaco.billing import epochs
from fondaco.billing.walls import LimitCurrency, counted_in
from fondaco.store.schema import EPOCH, api_keys, leases, transfers, usage_days, walls


def audit(connection: Connection) -> list[str]:
    """A sentence for each thing that is wrong, on one snapshot; none if the books are right."""
    return [
        *_signs(connection),
        *_leases(connection),
        *_funds(connection),
        *_days(connection),
        *_keys(connection),
    ]


def _signs(connection: Connection) -> Iterator[str]:
    for wall in connection.execute(select(walls)):
        if min(wall.free, wall.leased, wall.spent, wall.excess) < 0:
            yield f"wall {wall.id}: a part of it is negative"
        if wall.free + wall.leased + wall.spent != wall.allowed + wall.excess:
            yield f"wall {wall.id}: its parts are not what is allowed"
        if wall.free and wall.excess:
            yield f"wall {wall.id}: something is free, and it is beyond its limit"
        if wall.kind == "funds" and wall.excess:
            yield f"wall {wall.id}: more money was spent than there was"


def _leases(connection: Connection) -> Iterator[str]:
    leased = Counter[str]()
    for lease in connection.execute(select(leases)):
        leased[lease.wall_id] += lease.amount
        if lease.amount < 0:
            yield f"lease on {lease.wall_id}: negative"
    for wall in connection.execute(select(walls.c.id, walls.c.leased)):
        if wall.leased != leased[wall.id]:
            yield f"wall {wall.id}: {wall.leased} leased, its leases are {leased[wall.id]}"


def _funds(connection: Connection) -> Iterator[str]:
    into, used = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    columns = (transfers.c.account_id, transfers.c.currency, transfers.c.kind, transfers.c.debit)
    sums = select(*columns, func.sum(transfers.c.amount).label("amount")).group_by(*columns)
    for row in connection.execute(sums):
        of = (row.account_id, row.currency)
        if row.debit == "outside":
            into[of] += int(row.amount)
        elif row.debit == "funds" and row.kind == "usage":
            used[of] += int(row.amount)
        elif row.debit == "funds":
            into[of] -= int(row.amount)
    allowed, spent = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for wall in connection.execute(select(walls).where(walls.c.kind == "funds")):
        allowed[wall.owner, wall.currency] += wall.allowed
        spent[wall.owner, wall.currency] += wall.spent
    for account_id, currency in sorted({*into, *used, *allowed, *spent}):
        of = (account_id, currency)
        if into[of] != allowed[of]:
            yield f"account {account_id}: {into[of]} {currency} came in and stayed, its funds are {allowed[of]}"
        if used[of] != spent[of]:
            yield f"account {account_id}: {used[of]} {currency} of use was debited, its funds say {spent[of]}"


def _days(connection: Connection) -> Iterator[str]:
    rows = Counter[tuple[object, ...]]()
    usage = select(transfers).where(transfers.c.kind == "usage")
    for row in connection.execute(usage):
        day = (row.at - EPOCH).days
        of = (row.account_id, day, row.key_id, row.model_id, row.sku, row.currency)
        rows[*of, "amount"] += row.amount
        rows[*of, "units"] += row.units
        rows[*of, "requests"] += 1
    sums = Counter[tuple[object, ...]]()
    for row in connection.execute(select(usage_days)):
        of = (row.account_id, row.day, row.key_id, row.model_id, row.sku, row.currency)
        sums[*of, "amount"] = row.amount
        sums[*of, "units"] = row.units
        sums[*of, "requests"] = row.requests
    for of in {*rows, *sums}:
        if rows[of] != sums[of]:
            yield f"usage of day {of[1]} of account {of[0]}: {of[-1]} is {sums[of]}, its rows are {rows[of]}"


def _keys(connection: Connection) -> Iterator[str]:
    """The newest wall of each limit that a key has now; older ones belong to limits that it had."""
    for key in connection.execute(select(api_keys)):
        limits: tuple[tuple[LimitCurrency, int | None], ...] = (
            ("USD", key.limit_usd),
            ("DIEM", key.limit_diem),
        )
        for currency, limit in limits:
            if limit is None:
                continue
            for wall, window in _newest(connection, key, currency):
                used = select(func.coalesce(func.sum(usage_days.c.amount), 0)).where(
                    usage_days.c.key_id == key.id,
                    usage_days.c.currency.in_(counted_in(currency)),
                    usage_days.c.day >= window.first_day,
                    usage_days.c.day < window.end_day,
                )
                spent = int(connection.scalar(used) or 0)
                if wall.spent != spent:
                    yield f"wall {wall.id}: {wall.spent} spent, its key has used {spent}"


def _newest(
    connection: Connection, key: Row[Any], currency: LimitCurrency
) -> Iterator[tuple[Row[Any], epochs.Window]]:
    own = (walls.c.owner == key.id) & (walls.c.kind == "key") & (walls.c.currency == currency)
    for wall in connection.execute(select(walls).where(own).order_by(walls.c.window_start.desc())):
        second = int((wall.window_start - EPOCH).total_seconds())
        window = epochs.window(key.limit_period, second)
        if (second == 0) == (window is epochs.ALWAYS) and window.start == second * 1000:
            yield wall, window
            return

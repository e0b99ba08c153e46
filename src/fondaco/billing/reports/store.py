"""The SQL of reports. Each function is one unit of work, or part of one, and reads only.

Times are whole milliseconds since 1970 here, days are days since 1970: reports compare and sort, they do not reckon.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    or_,
    select,
    true,
    type_coerce,
)

from fondaco.billing.line import Currency
from fondaco.money import NanoUsd
from fondaco.store.schema import api_keys, transfers, usage_days

Kind = Literal["usage", "credit", "debit", "grant", "lapse"]


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger, as its account sees it."""

    id: int
    at: int
    kind: Kind
    debit: str
    currency: Currency
    amount: int
    note: str
    request_id: str | None
    sku: str | None
    price: int | None
    units: int | None
    per: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    execution_ms: int | None

    @property
    def change(self) -> NanoUsd:
        """What it does to the account: negative where the money comes out of one of the account's own books."""
        return NanoUsd(-self.amount if self.debit in _OWN_BOOKS else self.amount)


class Selection(msgspec.Struct, frozen=True):
    """Which transfers: of whom, in which currency (None: all), from `since` on and before `until` (None: no bound)."""

    account_id: str
    currency: str | None = None
    since: int | None = None
    until: int | None = None


class Counted(msgspec.Struct, frozen=True):
    """How many transfers were selected among those with an id up to `last`."""

    count: int
    last: int


class ModelSum(msgspec.Struct, frozen=True):
    model_id: str
    sku: str
    currency: str
    per: int
    amount: int
    units: int


class KeySum(msgspec.Struct, frozen=True):
    """`description` and `last6` are None for a key that is not there (any more)."""

    key_id: str
    description: str | None
    last6: str | None
    sku: str
    currency: str
    per: int
    amount: int
    units: int


class DaySum(msgspec.Struct, frozen=True):
    """What was spent on a day in a currency, or on or with one model or key: `of` says which."""

    day: int
    of: str
    amount: int


_OWN_BOOKS = frozenset({"funds", "tab"})
_at = type_coerce(transfers.c.at, BigInteger)
_FIELDS = [_at.label("at") if name == "at" else transfers.c[name] for name in Transfer.__struct_fields__]
_RECOUNT_FROM = 20_000
"""So many new rows of all accounts are looked through for one's own; from there on, counting anew is cheaper."""


def count(connection: Connection, of: Selection, known: Counted | None = None) -> Counted:
    """How many transfers there are. With `known`, an earlier count of the same, only what came since is counted."""
    newest: int = connection.scalar(select(func.max(transfers.c.id))) or 0
    if known is not None and known.last <= newest < known.last + _RECOUNT_FROM:
        if newest == known.last:
            return known
        fresh = transfers.c.id.between(known.last + 1, newest)
        # By id, the only short way to new rows: a sum, for a condition would lead to the index by account.
        mine = case((_chosen(of), 1), else_=0)
        added = connection.scalar(select(func.sum(mine)).where(fresh)) or 0
        return Counted(known.count + int(added), newest)
    found = connection.scalar(select(func.count()).select_from(transfers).where(_chosen(of))) or 0
    return Counted(found, newest)


def page(
    connection: Connection, of: Selection, *, first: int, size: int, total: int, newest_first: bool
) -> list[Transfer]:
    """`size` transfers from number `first` on (from 0), of `total`. Deep ones are reached from the nearer end."""
    size = min(size, total - first)
    if size <= 0:
        return []
    after = total - first - size
    turned = after < first
    ids = (
        select(transfers.c.id)
        .where(_chosen(of))
        .order_by(*_order(newest_first != turned))
        .limit(size)
        .offset(after if turned else first)
    )
    return _transfers(
        connection, select(*_FIELDS).where(transfers.c.id.in_(ids)).order_by(*_order(newest_first))
    )


def following(
    connection: Connection, of: Selection, position: tuple[int, int] | None, size: int
) -> list[Transfer]:
    """The oldest `size` transfers after `position`, the time and id of the last one seen."""
    query = select(*_FIELDS).where(_chosen(of))
    if position is not None:
        at, last = position
        # The first condition alone would do for the index; both together pass by what was seen of that millisecond.
        query = query.where(_at >= at, or_(_at > at, transfers.c.id > last))
    return _transfers(connection, query.order_by(*_order(False)).limit(size))


def by_day(connection: Connection, account_id: str, first: int, last: int) -> list[DaySum]:
    """What was spent each day in each currency, from the day `first` to `last`."""
    return _day_sums(connection, usage_days.c.currency, account_id, first, last, true())


def by_model(connection: Connection, account_id: str, first: int, last: int) -> list[ModelSum]:
    days = usage_days.c
    parts = (days.model_id, days.sku, days.currency, days.per)
    query = (
        select(*parts, func.sum(days.amount), func.sum(days.units))
        .where(days.account_id == account_id, days.day.between(first, last))
        .group_by(*parts)
    )
    rows: Iterable[Any] = connection.execute(query)
    return [
        ModelSum(model_id, sku, currency, per, int(amount), int(units))
        for model_id, sku, currency, per, amount, units in rows
    ]


def by_key(connection: Connection, account_id: str, first: int, last: int) -> Iterator[KeySum]:
    days, keys = usage_days.c, api_keys.c
    parts = (days.key_id, keys.description, keys.last6, days.sku, days.currency, days.per)
    query = (
        select(*parts, func.sum(days.amount), func.sum(days.units))
        .select_from(usage_days.outerjoin(api_keys, keys.id == days.key_id))
        .where(days.account_id == account_id, days.day.between(first, last))
        .group_by(*parts)
    )
    rows: Iterable[Any] = connection.execute(query)
    for key_id, description, last6, sku, currency, per, amount, units in rows:
        yield KeySum(key_id, description, last6, sku, currency, per, int(amount), int(units))


def by_model_and_day(
    connection: Connection, account_id: str, first: int, last: int, model_ids: Collection[str]
) -> list[DaySum]:
    chosen = usage_days.c.model_id.in_(model_ids)
    return _day_sums(connection, usage_days.c.model_id, account_id, first, last, chosen)


def by_key_and_day(
    connection: Connection, account_id: str, first: int, last: int, key_ids: Collection[str]
) -> list[DaySum]:
    chosen = usage_days.c.key_id.in_(key_ids)
    return _day_sums(connection, usage_days.c.key_id, account_id, first, last, chosen)


def spent_since(
    connection: Connection, key_ids: Collection[str], day: int | None
) -> list[tuple[str, str, int]]:
    """Key, currency and what the key has spent in it from `day` on; of all its days for None."""
    days = usage_days.c
    # The table is sorted by account and day: the accounts lead there, key ids alone would not.
    owners = select(api_keys.c.account_id).where(api_keys.c.id.in_(key_ids))
    query = (
        select(days.key_id, days.currency, func.sum(days.amount))
        .where(days.account_id.in_(owners), days.key_id.in_(key_ids))
        .group_by(days.key_id, days.currency)
    )
    if day is not None:
        query = query.where(days.day >= day)
    return [(key_id, currency, int(amount)) for key_id, currency, amount in connection.execute(query)]


def _chosen(of: Selection) -> ColumnElement[bool]:
    conditions = [transfers.c.account_id == of.account_id]
    if of.since is not None:
        conditions.append(_at >= of.since)
    if of.until is not None:
        conditions.append(_at < of.until)
    if of.currency is not None:
        conditions.append(transfers.c.currency == of.currency)
    return and_(*conditions)


def _order(newest_first: bool) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    at, number = transfers.c.at, transfers.c.id
    return (at.desc(), number.desc()) if newest_first else (at.asc(), number.asc())


def _transfers(connection: Connection, query: Select[Any]) -> list[Transfer]:
    names = Transfer.__struct_fields__
    return [Transfer(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]


def _day_sums(
    connection: Connection,
    of: ColumnElement[str],
    account_id: str,
    first: int,
    last: int,
    chosen: ColumnElement[bool],
) -> list[DaySum]:
    days = usage_days.c
    query = (
        select(days.day, of, func.sum(days.amount))
        .where(days.account_id == account_id, days.day.between(first, last), chosen)
        .group_by(days.day, of)
    )
    return [DaySum(day, name, int(amount)) for day, name, amount in connection.execute(query)]

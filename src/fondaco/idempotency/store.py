"""The SQL of requests with an `Idempotency-Key`. Each function is, or is part of, one unit of work of the store.

The primary key decides who is first, across processes too. A row is somebody's by its `request_id`: only its own
request ends it, and one that another has taken over meanwhile stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Insert, bindparam, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from fondaco.money import NanoUsd
from fondaco.store.schema import gateways, idempotency

_ATTEMPTS = 3
_NOTHING = NanoUsd(0)

_INSERTS: Final[Mapping[str, Insert]] = {
    "sqlite": sqlite.insert(idempotency).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(idempotency).on_conflict_do_nothing(),
}

_FIND = select(
    idempotency,
    exists(select(gateways.c.id).where(gateways.c.id == idempotency.c.gateway_id)).label("alive"),
).where(idempotency.c.id == bindparam("wanted"))

_OWN = (idempotency.c.id == bindparam("wanted"), idempotency.c.request_id == bindparam("request"))

_STATE = select(idempotency.c.state).where(*_OWN)

_DELETE = delete(idempotency).where(*_OWN)

_RELEASE = delete(idempotency).where(*_OWN, idempotency.c.state == "running")

_MARK = (
    update(idempotency)
    .where(*_OWN)
    .values(
        state="done",
        amount=idempotency.c.amount + bindparam("charged"),
        currency=func.coalesce(
            bindparam("paid_in", type_=idempotency.c.currency.type), idempotency.c.currency
        ),
    )
)


class Claim(msgspec.Struct, frozen=True):
    """One request as the first with its key. `id` and `body` are keyed hashes."""

    id: bytes
    body: bytes
    gateway_id: str
    request_id: str
    expires_at: datetime


class Earlier(msgspec.Struct, frozen=True):
    """The request that came first, where it still counts."""

    body: bytes
    done: bool
    request_id: str
    amount: NanoUsd = _NOTHING
    currency: str | None = None


def claim(connection: Connection, wanted: Claim, now: datetime) -> Earlier | None:
    """Make `wanted` the first with its key. None if it is now; else who was.

    A row that has expired, or that runs nowhere any more, gives way. The caller sees to it that none of its own
    gateway's requests runs under the same key.
    """
    for _ in range(_ATTEMPTS):
        if _insert(connection, wanted, "running", _NOTHING, None):
            return None
        found = connection.execute(_FIND, {"wanted": wanted.id}).one_or_none()
        if found is None:
            continue  # where several processes write at once it may just have gone
        orphaned = found.state == "running" and (found.gateway_id == wanted.gateway_id or not found.alive)
        if found.expires_at > now and not orphaned:
            return Earlier(
                body=found.body,
                done=found.state == "done",
                request_id=found.request_id,
                amount=NanoUsd(found.amount),
                currency=found.currency,
            )
        connection.execute(_DELETE, {"wanted": wanted.id, "request": found.request_id})
    # Others come and go under this key faster than we: one of them runs.
    return Earlier(body=wanted.body, done=False, request_id="")


def mark(
    connection: Connection, mine: Claim, charged: NanoUsd = _NOTHING, currency: str | None = None
) -> None:
    """The request is done, and cost so much more.

    A row that was released already comes back: a client that left is charged after that was noticed. One that
    another request has taken stays that request's.
    """
    values = {"wanted": mine.id, "request": mine.request_id, "charged": charged, "paid_in": currency}
    if connection.execute(_MARK, values).rowcount == 0:
        _insert(connection, mine, "done", charged, currency)


def is_done(connection: Connection, mine: Claim) -> bool:
    values = {"wanted": mine.id, "request": mine.request_id}
    return connection.scalar(_STATE, values) == "done"


def release(connection: Connection, mine: Claim) -> None:
    """The request failed: the next with its key runs. What was charged meanwhile stays done."""
    connection.execute(_RELEASE, {"wanted": mine.id, "request": mine.request_id})


def sweep(connection: Connection, now: datetime, most: int) -> int:
    """Remove rows that have expired, the oldest first; returns how many."""
    expired = (
        select(idempotency.c.id)
        .where(idempotency.c.expires_at <= now)
        .order_by(idempotency.c.expires_at)
        .limit(most)
    )
    return connection.execute(delete(idempotency).where(idempotency.c.id.in_(expired))).rowcount


def _insert(connection: Connection, row: Claim, state: str, amount: NanoUsd, currency: str | None) -> bool:
    """False if there is a row with this id."""
    values: dict[str, Any] = msgspec.structs.asdict(row)
    values |= {"state": state, "amount": amount, "currency": currency}
    return connection.execute(_INSERTS[connection.dialect.name], values).rowcount == 1

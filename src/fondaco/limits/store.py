"""The SQL of rate windows that several gateways share, and of the log of refusals.

Each function is, or is part of, one unit of work of the store. Times in `rate_windows` are Unix milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    TextClause,
    bindparam,
    delete,
    insert,
    select,
    text,
    type_coerce,
)

from fondaco.limits.admission import WINDOW_MS, Key, Standing, Wall, Window
from fondaco.store.schema import rate_refusals, rate_windows

KEPT_REFUSALS = 50
"""How many refusals of each account are kept."""

_DEBTS_KEPT_MS = 10 * WINDOW_MS


RefusalType: TypeAlias = Wall | Literal["FAILED_REQUESTS"]


class Refusal(msgspec.Struct, frozen=True):
    """A request that a limit refused."""

    account_id: str
    key_id: str
    model_id: str
    tier: str
    type: RefusalType
    at: datetime


class Correction(NamedTuple):
    """So many requests and tokens more were used than was counted in `window`."""

    window: Window
    requests: int
    tokens: int


def _text(sql: str, *numbers: str) -> TextClause:
    # With their types, for PostgreSQL asks for them where it cannot tell.
    return text(sql).bindparams(*(bindparam(name, type_=BigInteger) for name in numbers))


# `:limit` is 0 where tokens are not counted: then both sides of every comparison of tokens are 0.
_OVER = f":now - rate_windows.opened_at >= {WINDOW_MS}"
_PAID = f":limit * ((:now - rate_windows.opened_at) / {WINDOW_MS} - 1)"
_DEBT = f"CASE WHEN -rate_windows.tokens_left > {_PAID} THEN -rate_windows.tokens_left - {_PAID} ELSE 0 END"

_ADMIT = _text(
    f"""
    INSERT INTO rate_windows (account_id, model_id, opened_at, requests_left, tokens_left)
    VALUES (:account, :model, :now, :requests_after, :tokens_after)
    ON CONFLICT (account_id, model_id) DO UPDATE SET
        opened_at = CASE WHEN {_OVER} THEN :now ELSE rate_windows.opened_at END,
        requests_left = CASE WHEN {_OVER} THEN :requests_after ELSE rate_windows.requests_left - 1 END,
        tokens_left = CASE WHEN {_OVER} THEN :limit - ({_DEBT}) ELSE rate_windows.tokens_left END - :tokens
    WHERE CASE WHEN {_OVER} THEN :limit - ({_DEBT}) >= :tokens
        ELSE rate_windows.requests_left > 0 AND rate_windows.tokens_left >= :tokens END
    """,
    "now",
    "requests_after",
    "tokens_after",
    "limit",
    "tokens",
)
"""The same rules as in `windows.py`, in one statement that changes no row where the request has no place."""

_PUBLISH = _text(
    f"""
    INSERT INTO rate_windows (account_id, model_id, opened_at, requests_left, tokens_left)
    VALUES (:account, :model, :opened, :requests_left, :tokens_left)
    ON CONFLICT (account_id, model_id) DO UPDATE SET
        opened_at = CASE WHEN {_OVER} THEN :opened ELSE rate_windows.opened_at END,
        requests_left = CASE
            WHEN {_OVER} OR rate_windows.opened_at = :opened THEN :requests_left
            ELSE rate_windows.requests_left - :requests_used END,
        tokens_left = CASE
            WHEN {_OVER} OR rate_windows.opened_at = :opened THEN :tokens_left
            ELSE rate_windows.tokens_left - :tokens_used END
    """,
    "now",
    "opened",
    "requests_left",
    "tokens_left",
    "requests_used",
    "tokens_used",
)


_STANDING = select(
    type_coerce(rate_windows.c.opened_at, BigInteger),
    rate_windows.c.requests_left,
    rate_windows.c.tokens_left,
)

_ONE = (rate_windows.c.account_id == bindparam("account"), rate_windows.c.model_id == bindparam("model"))
_STANDING_OF_ONE = _STANDING.where(*_ONE)

_CORRECT = _text(
    """
    UPDATE rate_windows
    SET requests_left = requests_left - :requests, tokens_left = tokens_left - :tokens
    WHERE account_id = :account AND model_id = :model AND opened_at = :opened
    """,
    "requests",
    "tokens",
    "opened",
)

_CARRY = _text(
    """
    UPDATE rate_windows SET tokens_left = tokens_left - :tokens
    WHERE account_id = :account AND model_id = :model
    """,
    "tokens",
)

_CLOSE_UNTOUCHED = _text(
    """
    DELETE FROM rate_windows
    WHERE account_id = :account AND model_id = :model AND opened_at = :opened
        AND requests_left >= :requests AND tokens_left >= :tokens
    """,
    "opened",
    "requests",
    "tokens",
)

# A debt outlives its window, but not for ever. And a window of the future is one that a clock set back has left.
_DROP = _text(
    f"""
    DELETE FROM rate_windows
    WHERE (opened_at <= :now - {WINDOW_MS} AND tokens_left >= 0)
        OR opened_at <= :now - {_DEBTS_KEPT_MS} OR opened_at > :now + {WINDOW_MS}
    """,
    "now",
)


def admit(
    connection: Connection, key: Key, now: int, limits: tuple[int, int], tokens: int
) -> tuple[bool, Standing]:
    """Whether there was a place for a request with so many tokens, which is then taken; and how the window stands.

    `limits` are the window's requests and tokens. A window that is over stands as it is where nothing was admitted.
    """
    of_one = {"account": key[0], "model": key[1]}
    given = {
        "now": now,
        "requests_after": limits[0] - 1,
        "tokens_after": limits[1] - tokens,
        "limit": limits[1],
        "tokens": tokens,
    }
    admitted = connection.execute(_ADMIT, of_one | given).rowcount == 1
    return admitted, Standing(*connection.execute(_STANDING_OF_ONE, of_one).one())


def correct(connection: Connection, corrections: Iterable[Correction]) -> None:
    """Count what was really used: in its window, or what that had no room for in the one that is open now."""
    for window, requests, tokens in corrections:
        of_one = {"account": window.account_id, "model": window.model_id}
        given = {"opened": window.opened_at, "requests": requests, "tokens": tokens}
        if connection.execute(_CORRECT, of_one | given).rowcount:
            if requests < 0:
                whole = {"requests": window.rate.requests, "tokens": window.rate.tokens or 0}
                connection.execute(_CLOSE_UNTOUCHED, of_one | whole | {"opened": window.opened_at})
        elif (beyond := min(tokens, -window.tokens_left)) > 0:
            connection.execute(_CARRY, of_one | {"tokens": beyond})


def publish(connection: Connection, windows: Iterable[Window], now: int) -> None:
    """Put windows into the table. Where another gateway has opened the same, what was used here counts there."""
    rows = [
        {
            "account": window.account_id,
            "model": window.model_id,
            "now": now,
            "limit": window.rate.tokens or 0,
            "opened": window.opened_at,
            "requests_left": window.requests_left,
            "tokens_left": window.tokens_left,
            "requests_used": window.rate.requests - window.requests_left,
            "tokens_used": (window.rate.tokens or 0) - window.tokens_left,
        }
        for window in windows
    ]
    if rows:
        connection.execute(_PUBLISH, rows)


def drop_windows(connection: Connection, now: int) -> None:
    """Forget windows that are over."""
    connection.execute(_DROP, {"now": now})


def windows(connection: Connection) -> dict[Key, Standing]:
    """How all windows stand."""
    query = _STANDING.add_columns(rate_windows.c.account_id, rate_windows.c.model_id)
    return {(row[3], row[4]): Standing(*row[:3]) for row in connection.execute(query)}


def add_refusals(connection: Connection, refusals: Sequence[Refusal]) -> None:
    """Add to the log, and leave the last 50 of each of these accounts."""
    connection.execute(insert(rate_refusals), [msgspec.structs.asdict(refusal) for refusal in refusals])
    for account_id in {refusal.account_id for refusal in refusals}:
        of_account = rate_refusals.c.account_id == account_id
        last_beyond = (
            select(rate_refusals.c.id)
            .where(of_account)
            .order_by(rate_refusals.c.id.desc())
            .limit(1)
            .offset(KEPT_REFUSALS)
            .scalar_subquery()
        )
        connection.execute(delete(rate_refusals).where(of_account, rate_refusals.c.id <= last_beyond))


def refusals_of(connection: Connection, account_id: str, key_id: str | None) -> list[Refusal]:
    """An account's refusals, newest first, of one key or of all."""
    columns = [rate_refusals.c[name] for name in Refusal.__struct_fields__]
    query = select(*columns).where(rate_refusals.c.account_id == account_id)
    if key_id is not None:
        query = query.where(rate_refusals.c.key_id == key_id)
    query = query.order_by(rate_refusals.c.at.desc(), rate_refusals.c.id.desc()).limit(KEPT_REFUSALS)
    return [Refusal(*row) for row in connection.execute(query)]

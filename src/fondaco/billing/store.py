"""The SQL of walls, leases and funds. Each function is, or is part of, one unit of work of the store.

What each settlement writes is in `posting.py`. Times are Unix milliseconds here, as the columns hold them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from fondaco.billing import walls as kinds
from fondaco.billing.balances import Balances
from fondaco.billing.epochs import Window, day, month
from fondaco.billing.line import Currency
from fondaco.billing.walls import LARGEST, LimitCurrency, Wall
from fondaco.keys.caller import SpendLimits
from fondaco.money import NanoUsd
from fondaco.store.presence import free_again
from fondaco.store.schema import EPOCH, accounts, api_keys, gateways, leases, transfers, usage_days, walls


class LeasesLost(Exception):
    """Others have taken this gateway for dead: what it had leased is free again."""


class NoSuchAccount(LookupError):
    """No account has that id."""


class TooMuch(ValueError):
    """More than one account can have in one currency: its sums would not fit their columns."""


def is_gateway(connection: Connection, gateway_id: str) -> bool:
    return connection.scalar(select(gateways.c.id).where(gateways.c.id == gateway_id)) is not None


def touch(connection: Connection, gateway_id: str, now: int) -> None:
    """Write something that is true anyway."""
    connection.execute(update(gateways).where(gateways.c.id == gateway_id).values(heartbeat_at=_time(now)))


def free_in(connection: Connection, wall: Wall, now: int) -> int:
    """What is free in `wall`, which is built if it was not needed before."""
    asked = select(walls.c.free).where(walls.c.id == wall.id).with_for_update()
    free = connection.scalar(asked)
    if free is None and _build(connection, wall, now):
        free = connection.scalar(asked)
    return free or 0


def lease(connection: Connection, wall_id: str, gateway_id: str, amount: int) -> None:
    """From free to leased. Raises LeasesLost if there is not so much free after all."""
    taken = connection.execute(_TAKE, {"wall": wall_id, "taken": amount})
    if taken.rowcount != 1:
        raise LeasesLost
    add = _insert(connection)(leases).values(
        wall_id=wall_id, gateway_id=gateway_id, amount=amount, recalled=False
    )
    connection.execute(
        add.on_conflict_do_update(
            index_elements=["wall_id", "gateway_id"],
            set_={"amount": leases.c.amount + add.excluded.amount},
        )
    )


def give_back(connection: Connection, wall: Wall, gateway_id: str, amount: int, now: int) -> None:
    """From leased to free. Funds of a day that is over lapse. Raises LeasesLost."""
    mine = (leases.c.wall_id == wall.id) & (leases.c.gateway_id == gateway_id)
    less = update(leases).where(mine).values(amount=leases.c.amount - amount)
    if connection.execute(less).rowcount != 1 and amount:
        raise LeasesLost
    connection.execute(delete(leases).where(mine, leases.c.amount == 0))
    free_again(connection, [(wall.id, amount)])
    if wall.kind == "funds" and wall.window.until * 1000 <= now:
        lapse(connection, now, wall.account_id)


def recall(connection: Connection, wall_ids: Sequence[str], gateway_id: str) -> bool:
    """Ask the other gateways for what they do not need of these walls. False if they have leased nothing there."""
    theirs = leases.c.wall_id.in_(wall_ids) & (leases.c.gateway_id != gateway_id) & (leases.c.amount > 0)
    return connection.execute(update(leases).where(theirs).values(recalled=True)).rowcount > 0


def recall_funds(connection: Connection, account_id: str, gateway_id: str) -> bool:
    """As `recall`, for all funds of an account."""
    own = select(walls.c.id).where(walls.c.owner == account_id, walls.c.kind == "funds")
    return recall(connection, connection.scalars(own).all(), gateway_id)


def is_recalled(connection: Connection, gateway_id: str) -> bool:
    """Others want back what this gateway does not need of some wall."""
    mine = (leases.c.gateway_id == gateway_id) & leases.c.recalled
    return connection.scalar(select(leases.c.wall_id).where(mine).limit(1)) is not None


def hear_recall(connection: Connection, gateway_id: str) -> set[str]:
    """The walls that were recalled since this was last asked; asking again for one is a change again."""
    mine = (leases.c.gateway_id == gateway_id) & leases.c.recalled
    wall_ids = set(connection.scalars(select(leases.c.wall_id).where(mine)))
    connection.execute(update(leases).where(mine).values(recalled=False))
    return wall_ids


def take_expired(connection: Connection, wall_ids: Sequence[str], wanted: int) -> int:
    """Straight from free to spent, for a hold whose lease is lost: `wanted`, or as much as all these walls have."""
    asked = select(walls.c.id, walls.c.free).where(walls.c.id.in_(wall_ids)).with_for_update()
    found = {row.id: row.free for row in connection.execute(asked)}
    amount = min([wanted, *(found.get(wall_id, 0) for wall_id in wall_ids)])
    if amount:
        connection.execute(
            update(walls)
            .where(walls.c.id.in_(wall_ids))
            .values(free=walls.c.free - amount, spent=walls.c.spent + amount)
        )
    return amount


def relimit(connection: Connection, key_id: str, limits: SpendLimits | None, second: int) -> None:
    """Make the walls of a key be these limits from now on, with what it has spent in their windows counted."""
    account_id = connection.scalar(select(api_keys.c.account_id).where(api_keys.c.id == key_id))
    if account_id is None:
        return
    own = select(walls.c.id).where(walls.c.owner == key_id, walls.c.kind == "key")
    connection.execute(update(leases).where(leases.c.wall_id.in_(own)).values(recalled=True))
    both: tuple[LimitCurrency, ...] = ("USD", "DIEM")
    for currency in both:
        wall = kinds.of_key(key_id, account_id, currency, limits, second)
        if wall is None:
            continue
        spent = _spent_in(connection, wall)
        leased = connection.scalar(select(walls.c.leased).where(walls.c.id == wall.id).with_for_update())
        if leased is None:
            _add_wall(connection, wall, wall.limit, spent)
        else:
            change = _split(wall.limit, leased + spent)
            connection.execute(update(walls).where(walls.c.id == wall.id).values(spent=spent, **change))


def credit(
    connection: Connection, account_id: str, currency: Currency, amount: int, note: str, now: int
) -> bool:
    """Put money into an account's funds, or with a negative amount take it out. False if not so much is free.

    Raises NoSuchAccount and TooMuch.
    """
    if connection.scalar(select(accounts.c.id).where(accounts.c.id == account_id)) is None:
        raise NoSuchAccount
    wall = kinds.funds(account_id, currency, now // 1000)
    free = free_in(connection, wall, now)
    if free + amount < 0:
        return False
    if amount > 0:
        _add_wall(connection, wall, 0, 0)
    _allow(connection, wall, amount)
    _transfer(connection, "credit" if amount >= 0 else "debit", account_id, currency, amount, note, now)
    return True


def set_diem_daily(connection: Connection, account_id: str, amount: int, note: str, now: int) -> None:
    """The allowance of each day, this one's too: more is granted now, less lapses as far as it is free.

    `note` says who and why in a row of its own, also where nothing moves yet. Raises NoSuchAccount and TooMuch.
    """
    if connection.scalar(select(accounts.c.id).where(accounts.c.id == account_id)) is None:
        raise NoSuchAccount
    if amount > LARGEST:
        raise TooMuch
    wall = kinds.funds(account_id, kinds.FUNDS_OF_DAY, now // 1000)
    asked = select(walls.c.free, walls.c.allowed).where(walls.c.id == wall.id).with_for_update()
    found = connection.execute(asked).one_or_none()
    more = 0  # where this day's allowance has not been needed yet, all of it is granted when it is
    if found is not None:
        # Against what the day has been granted, not what was set before: some of that may not have been free to go.
        granted = found.allowed - _credited(connection, wall)
        if more := max(amount - granted, -found.free):
            _allow(connection, wall, more)
    connection.execute(update(accounts).where(accounts.c.id == account_id).values(diem_daily=amount))
    kind = "grant" if more >= 0 else "lapse"
    _transfer(connection, kind, account_id, kinds.FUNDS_OF_DAY, more, note, now)


def lapse(connection: Connection, now: int, account_id: str | None = None) -> None:
    """Take out what is free in the funds of days that are over, of one account or of all. Again changes nothing."""
    over = (
        (walls.c.kind == "funds")
        & (walls.c.currency == kinds.FUNDS_OF_DAY)
        & (walls.c.window_start < _time(day(now // 1000).start))
        & (walls.c.free > 0)
    )
    if account_id is not None:
        over &= walls.c.owner == account_id
    for row in connection.execute(select(walls.c.id, walls.c.owner, walls.c.free).where(over)).all():
        still = (walls.c.id == row.id) & (walls.c.free == row.free)
        change = update(walls).where(still).values(allowed=walls.c.allowed - row.free, free=0)
        if connection.execute(change).rowcount:
            _transfer(connection, "lapse", row.owner, kinds.FUNDS_OF_DAY, -row.free, _LAPSE_NOTE, now)


def end_windows(connection: Connection, now: int) -> None:
    """`lapse` for all, and forget the walls of keys' windows that ended a month ago or more: usage tells of them."""
    lapse(connection, now)
    last = month(month(now // 1000).start // 1000 - 1)
    over = (
        (walls.c.kind == "key")
        & (walls.c.window_start > _time(0))
        & (walls.c.window_start < _time(last.start))
        & walls.c.id.not_in(select(leases.c.wall_id))
    )
    connection.execute(delete(walls).where(over))


def balances(connection: Connection, account_ids: Sequence[str], second: int) -> Mapping[str, Balances]:
    """Of those of these accounts that there are."""
    daily = select(accounts.c.id, accounts.c.diem_daily).where(accounts.c.id.in_(account_ids))
    found: dict[str, dict[str, int]] = {}
    allocation: dict[str, int] = {}
    for row in connection.execute(daily):
        allocation[row.id] = row.diem_daily
        found[row.id] = {"DIEM": row.diem_daily}
    today = day(second).start
    current = walls.c.window_start.in_([_time(0), _time(today)])
    asked = select(walls.c.owner, walls.c.currency, walls.c.free, walls.c.leased).where(
        walls.c.owner.in_(account_ids), walls.c.kind == "funds", current
    )
    for row in connection.execute(asked):
        if row.owner in found:
            found[row.owner][row.currency] = row.free + row.leased
    return {
        account_id: Balances(
            usd=NanoUsd(has.get("USD", 0)),
            diem=NanoUsd(has["DIEM"]),
            bundled=NanoUsd(has.get("BUNDLED_CREDITS", 0)),
            diem_allocation=NanoUsd(allocation[account_id]),
        )
        for account_id, has in found.items()
    }


_GRANT_NOTE = "Daily DIEM"
_LAPSE_NOTE = "Daily DIEM not spent"


def _build(connection: Connection, wall: Wall, now: int) -> bool:
    """False if it would be a wall with nothing in it."""
    if wall.kind == "key":
        _add_wall(connection, wall, _limit_now(connection, wall), _spent_in(connection, wall))
        return True
    if wall.currency != kinds.FUNDS_OF_DAY:
        return False
    lapse(connection, now, wall.account_id)
    daily = connection.scalar(select(accounts.c.diem_daily).where(accounts.c.id == wall.account_id))
    if not daily:
        return False
    if _add_wall(connection, wall, daily, 0):
        _transfer(connection, "grant", wall.account_id, wall.currency, daily, _GRANT_NOTE, now)
    return True


def _add_wall(connection: Connection, wall: Wall, allowed: int, spent: int) -> bool:
    """False if it is there already."""
    row = {
        "id": wall.id,
        "kind": wall.kind,
        "owner": wall.owner,
        "currency": wall.currency,
        "window_start": _time(wall.window.start),
        "leased": 0,
        "spent": spent,
        **_split(allowed, spent),
    }
    add = _insert(connection)(walls).values(row).on_conflict_do_nothing(index_elements=["id"])
    return connection.execute(add).rowcount == 1


def _allow(connection: Connection, wall: Wall, more: int) -> None:
    if more > LARGEST:
        raise TooMuch
    mine = walls.c.id == wall.id
    change = update(walls).where(mine, walls.c.allowed <= LARGEST - more)
    values = {"allowed": walls.c.allowed + more, "free": walls.c.free + more}
    if not connection.execute(change.values(values)).rowcount and more > 0:
        raise TooMuch


def _credited(connection: Connection, wall: Wall) -> int:
    """What was put into an account's funds of a day by hand, less what was taken out."""
    asked = select(transfers.c.kind, transfers.c.amount).where(
        transfers.c.account_id == wall.account_id,
        transfers.c.at >= _time(wall.window.start),
        transfers.c.at < _time(wall.window.until * 1000),
        transfers.c.currency == wall.currency,
        transfers.c.kind.in_(("credit", "debit")),
    )
    return sum(row.amount if row.kind == "credit" else -row.amount for row in connection.execute(asked))


def _split(allowed: int, used: int) -> dict[str, int]:
    return {"allowed": allowed, "free": max(0, allowed - used), "excess": max(0, used - allowed)}


def _limit_now(connection: Connection, wall: Wall) -> int:
    # The caller may have been read a moment before the limit was changed; the key's row is the truth.
    limit = api_keys.c.limit_diem if wall.currency == "DIEM" else api_keys.c.limit_usd
    found = connection.scalar(select(limit).where(api_keys.c.id == wall.owner))
    return wall.limit if found is None else min(found, LARGEST)


def _spent_in(connection: Connection, wall: Wall) -> int:
    counted = kinds.counted_in(kinds.counts_as(wall.currency))
    window: Window = wall.window
    asked = select(cast(func.coalesce(func.sum(usage_days.c.amount), 0), BigInteger)).where(
        usage_days.c.account_id == wall.account_id,
        usage_days.c.key_id == wall.owner,
        usage_days.c.day >= window.first_day,
        usage_days.c.day < window.end_day,
        usage_days.c.currency.in_(counted),
    )
    return connection.scalar(asked) or 0


def _transfer(
    connection: Connection, kind: str, account_id: str, currency: str, amount: int, note: str, now: int
) -> None:
    into = amount >= 0
    connection.execute(
        insert(transfers).values(
            at=_time(now),
            account_id=account_id,
            kind=kind,
            debit="outside" if into else "funds",
            credit="funds" if into else "outside",
            currency=currency,
            amount=abs(amount),
            note=note,
        )
    )


def _time(unix_ms: int):
    return EPOCH + timedelta(milliseconds=unix_ms)


def _insert(connection: Connection):
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


_TAKE = (
    update(walls)
    .where(walls.c.id == bindparam("wall"), walls.c.free >= bindparam("taken"))
    .values(free=walls.c.free - bindparam("taken"), leased=walls.c.leased + bindparam("taken"))
)

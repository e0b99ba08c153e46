"""This process among the gateways of one database: a row with a heartbeat, and an eye on the others' rows.

Whoever is silent for a minute is dead to the others: what it had leased is free again, and its row goes. A gateway
that was only asleep finds its row gone, and comes back under a new id: nothing of what it had leased is its own
any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, Update, bindparam, case, delete, insert, select, update

from fondaco import ids
from fondaco.clock import Clock
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.store.schema import gateways, idempotency, leases, walls
from fondaco.telemetry.logs import logger

BEAT_SECONDS = 10.0
DEAD_SECONDS = 60.0
_NOTICE_SECONDS = 0.3
_AFTER = 0.02

_log = logger(__name__)


class Presence:
    """One a process, open on the event loop of its database."""

    def __init__(
        self,
        database: Store,
        clock: Clock,
        *,
        beat_seconds: float = BEAT_SECONDS,
        notice_seconds: float = _NOTICE_SECONDS,
    ) -> None:
        """`notice_seconds` is how long a newcomer waits for the others to notice it."""
        self.id = ids.row_id()
        """Of this process, as others see it. A new one after it was taken for dead."""
        self.alone = True
        """No other live gateway is on this database."""
        self.gateways = 1
        """How many live ones are on it, this one included."""
        self._database = database
        self._clock = clock
        self._beat_seconds = beat_seconds
        self._notice_seconds = notice_seconds
        self._others: frozenset[str] = frozenset()
        self._joined = False
        self._closed = False
        self._beating = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looking = False
        self._on_company: list[Callable[[], None]] = []
        self._on_lost: list[Callable[[], None]] = []
        self._on_expired: list[Callable[[Connection], None]] = []

    def on_company(self, callback: Callable[[], None]) -> None:
        """Call `callback` when another gateway appears."""
        self._on_company.append(callback)

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` when others have taken this process for dead: it has another `id` and no leases."""
        self._on_lost.append(callback)

    def on_expired(self, callback: Callable[[Connection], None]) -> None:
        """Call `callback` in the transaction that frees what dead gateways had leased."""
        self._on_expired.append(callback)

    async def open(self) -> None:
        """Be seen, and see the others; where there are any, they have noticed when this returns. Raises StoreError."""
        self._database.on_foreign_change(self._look_soon)
        await self.beat()
        if not self.alone:
            await asyncio.sleep(self._notice_seconds)

    async def close(self) -> None:
        """Give back what is still leased, and go."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._joined:
            return
        try:
            await self._database.write(self._leave)
        except StoreError as error:
            _log.warning("presence.not_left", exc_info=error)

    async def beat(self) -> None:
        """Say that this process lives, and bury who has not said so for a minute. Raises StoreError."""
        async with self._beating:
            seen = await self._database.write(self._beat)
            self._joined = True
            lost, self.id = seen.id != self.id, seen.id
            self._note(seen.others)
            self._beat_again(self._next_look(seen))
            if lost:
                _log.warning("presence.lost")
                for callback in self._on_lost:
                    callback()

    def _beat(self, connection: Connection) -> _Seen:
        now = self._clock.now()
        beats = {row.id: row.heartbeat_at for row in connection.execute(select(gateways))}
        oldest = now - timedelta(seconds=DEAD_SECONDS)
        if dead := [other for other, at in beats.items() if at <= oldest and other != self.id]:
            expire(connection, dead)
            for callback in self._on_expired:
                callback(connection)
        own = self.id
        if own in beats:
            connection.execute(update(gateways).where(gateways.c.id == own).values(heartbeat_at=now))
        else:
            if self._joined:
                own = ids.row_id()
            connection.execute(insert(gateways).values(id=own, started_at=now, heartbeat_at=now))
        live = {other: at for other, at in beats.items() if other not in dead and other != own}
        waits = [(at - oldest).total_seconds() for at in live.values()]
        return _Seen(own, frozenset(live), min(waits, default=DEAD_SECONDS))

    def _leave(self, connection: Connection) -> None:
        expire(connection, [self.id])
        for callback in self._on_expired:
            callback(connection)

    def _note(self, others: frozenset[str]) -> None:
        new = others - self._others
        self._others = others
        self.alone = not others
        self.gateways = 1 + len(others)
        if new:
            for callback in self._on_company:
                callback()

    def _next_look(self, seen: _Seen) -> float:
        # Not a whole beat later than the minute is over: what the dead have leased is missed by somebody.
        return min(self._beat_seconds, max(seen.first_dies, 0.0) + _AFTER)

    def _beat_again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._start, self._beat_or_log)

    async def _beat_or_log(self) -> None:
        try:
            await self.beat()
        except Exception as error:  # whatever it was: who is silent is dead
            _log.warning("presence.not_written", exc_info=error)
            self._beat_again(self._beat_seconds)

    def _look_soon(self) -> None:
        if self._joined and not self._looking and not self._closed:
            self._looking = True
            self._start(self._look)

    async def _look(self) -> None:
        try:
            found = await self._database.read(_ids)
        except StoreError:
            return  # the next change or heartbeat looks again
        finally:
            self._looking = False
        self._note(frozenset(found) - {self.id})

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._closed:
            task = asyncio.get_running_loop().create_task(work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def expire(connection: Connection, gateway_ids: Sequence[str]) -> None:
    """End these gateways: what they had leased is free again, what they had begun under a key may be begun again."""
    theirs = leases.c.gateway_id.in_(gateway_ids)
    held = connection.execute(
        select(leases.c.wall_id, leases.c.amount).where(theirs, leases.c.amount > 0)
    ).all()
    free_again(connection, [(row.wall_id, row.amount) for row in held])
    connection.execute(delete(leases).where(theirs))
    begun = idempotency.c.gateway_id.in_(gateway_ids) & (idempotency.c.state == "running")
    connection.execute(delete(idempotency).where(begun))
    connection.execute(delete(gateways).where(gateways.c.id.in_(gateway_ids)))


def free_again(connection: Connection, amounts: Sequence[tuple[str, int]]) -> None:
    """From leased to free, so much of each of these walls; what a wall is beyond its limit is made up for first."""
    if amounts:
        connection.execute(_FREE_AGAIN, [{"wall": wall_id, "amount": amount} for wall_id, amount in amounts])


class _Seen(NamedTuple):
    id: str
    others: frozenset[str]
    first_dies: float
    """Seconds until the first of the others is dead, if it stays silent."""


def _ids(connection: Connection) -> Iterable[str]:
    return connection.scalars(select(gateways.c.id)).all()


def _free_again() -> Update:
    amount = bindparam("amount", type_=BigInteger())
    paid = case((walls.c.excess < amount, walls.c.excess), else_=amount)
    return (
        update(walls)
        .where(walls.c.id == bindparam("wall"))
        .values(
            leased=walls.c.leased - amount, free=walls.c.free + amount - paid, excess=walls.c.excess - paid
        )
    )


_FREE_AGAIN = _free_again()

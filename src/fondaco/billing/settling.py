"""One write at a time, and all that came meanwhile goes into the next: settlements, leases and top-ups together.

A commit costs the disk the same for one as for a thousand. While the database cannot be written, what is to be
settled waits here and is tried again; its answers go out, for they are finished and will be written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection

from fondaco.billing.leases import Option
from fondaco.billing.line import Bill
from fondaco.billing.pace import Pace
from fondaco.billing.store import LeasesLost
from fondaco.billing.use import Use
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.telemetry.logs import logger

T = TypeVar("T")

_log = logger(__name__)


class Settlement:
    """One request's bill, on its way into the books."""

    __slots__ = (
        "amount",
        "amounts",
        "bill",
        "expired",
        "future",
        "model_id",
        "option",
        "owed",
        "ticket",
        "use",
    )

    def __init__(
        self,
        ticket: Ticket,
        model_id: str,
        option: Option,
        bill: Bill,
        amounts: Sequence[int],
        amount: int,
        use: Use,
    ) -> None:
        self.ticket = ticket
        self.model_id = model_id
        self.option = option
        self.bill = bill
        self.owed = amounts
        """What each line of the bill is owed, within what was held."""
        self.amounts = amounts
        """What is charged for each line of the bill."""
        self.amount = NanoUsd(amount)
        """Their sum."""
        self.use = use
        self.expired = False
        """What it had held was taken back from this process: it is charged what is still free."""
        self.future: asyncio.Future[NanoUsd] | None = None

    def cut(self, most: int) -> None:
        """Charge `most` of what is owed, the last lines less."""
        self.amounts = cut(self.owed, most)
        self.amount = NanoUsd(sum(self.amounts))


def cut(amounts: Sequence[int], most: int) -> list[int]:
    """`amounts`, the last ones lowered as far as their sum would be more than `most`."""
    left: list[int] = []
    for amount in amounts:
        left.append(min(amount, most))
        most -= left[-1]
    return left


class Entry(Protocol):
    """Part of a commit that is no settlement. Exactly one of `written` and `failed` is called, on the event loop."""

    @property
    def survives(self) -> bool:
        """It can be written all the same where the process's leases turn out to be lost."""
        ...

    def write(self, connection: Connection) -> None: ...
    def written(self) -> None: ...
    def failed(self, error: BaseException) -> None: ...
    def parts(self) -> Iterator[Entry]:
        """What it falls into where it must not share a commit; itself if it is one thing. Only for one not ended."""
        ...


class Ask(Entry, Generic[T]):
    """One unit of work among the others; its result, or what went wrong, is given to a callback."""

    @property
    def survives(self) -> bool:
        return True

    def __init__(
        self,
        work: Callable[[Connection], T],
        done: Callable[[T], None],
        undone: Callable[[BaseException], None],
    ) -> None:
        self._work = work
        self._done = done
        self._undone = undone
        self._results: list[T] = []

    def write(self, connection: Connection) -> None:
        self._results = [self._work(connection)]

    def written(self) -> None:
        self._done(self._results[0])

    def failed(self, error: BaseException) -> None:
        self._undone(error)

    def parts(self) -> Iterator[Entry]:
        yield self


class Journal:
    """What is written, in order. All methods are for the event loop."""

    def __init__(
        self,
        database: Store,
        *,
        post: Callable[[Connection, Sequence[Settlement]], None],
        posted: Callable[[Settlement], None] | None,
        rejected: Callable[[Settlement], None],
        entry: Callable[[], Entry | None],
        rejoin: Callable[[], Awaitable[None]],
        probe: Callable[[Connection], None],
        retry_seconds: float = 1.0,
    ) -> None:
        """`post` writes settlements; `posted` or `rejected` hears afterwards of each one that is, or cannot be, written.

        `entry` gives what else the next commit should hold. `rejoin` is called when leases are lost; `probe` writes
        something, to see whether that is possible again.
        """
        self.writable = True
        self.pace = Pace()
        self._database = database
        self._post = post
        self._posted = posted
        self._rejected = rejected
        self._entry = entry
        self._rejoin = rejoin
        self._probe = probe
        self._retry_seconds = retry_seconds
        self._delay = retry_seconds
        self._settlements: list[Settlement] = []
        self._entries: list[Entry] = []
        self._woken = False
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def post(self, settlement: Settlement) -> None:
        """Write it with the next commit, or when that is possible again."""
        self._settlements.append(settlement)
        if self._task is None:
            self._start()
        else:
            self.pace.came(len(self._settlements))

    def settle(self, settlement: Settlement) -> asyncio.Future[NanoUsd]:
        """What is charged, when it is durable; or at once if nothing can be written now, for then it will be."""
        future = settlement.future = asyncio.get_running_loop().create_future()
        if not self.writable:
            future.set_result(settlement.amount)
        self.post(settlement)
        return future

    def add(self, entry: Entry) -> None:
        if not self.writable:
            entry.failed(_not_now())
            return
        self._entries.append(entry)
        self.wake()

    async def ask(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, done after all settlements that came before. Raises what it raises, and StoreError."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: T) -> None:
            if not future.done():
                future.set_result(result)

        def undone(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        self.add(Ask(work, done, undone))
        return await future

    def wake(self) -> None:
        """There is something to write."""
        self._woken = True
        if self._task is None:
            self._start()
        else:
            self.pace.hurry()

    async def close(self, seconds: float) -> int:
        """Write what waits, for `seconds` at most while it cannot be; the number of settlements not written."""
        if self._task is not None:
            self._delay = self._retry_seconds
            self._hurry.set()
            self.pace.hurry()
            await asyncio.wait([self._task], timeout=seconds)
        if (task := self._task) is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return len(self._settlements)

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while self._settlements or self._entries or self._woken or not self.writable:
                if not self.writable:
                    self._refuse_entries()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurry.wait(), self._delay)
                    self._hurry.clear()
                    self._refuse_entries()
                elif not self._woken:
                    await self.pace.gather(len(self._settlements))
                await self._turn()
        finally:
            self._task = None

    async def _turn(self) -> None:
        self._woken = False
        more = self._entry() if self.writable else None  # which may add others, to be written before it
        settlements, self._settlements = self._settlements, []
        entries, self._entries = self._entries, []
        if more is not None:
            entries.append(more)
        self.pace.began(len(settlements))
        try:
            await self._database.write(lambda connection: self._write(connection, settlements, entries))
        except StoreError as error:
            self._cannot(settlements, entries, error)
        except LeasesLost:
            await self._again_without_leases(settlements, entries)
        except asyncio.CancelledError:
            self._settlements[:0] = settlements
            raise
        except Exception:
            await self._one_by_one(settlements, entries)
        else:
            self._can()
            self._done(settlements)
            for entry in entries:
                entry.written()

    def _write(
        self, connection: Connection, settlements: Sequence[Settlement], entries: Sequence[Entry]
    ) -> None:
        if not self.writable and not settlements:
            self._probe(connection)
        if settlements:
            self._post(connection, settlements)
            for settlement in settlements:
                for join in settlement.ticket.joins:
                    join(connection, settlement.amount, settlement.option.currency)
        for entry in entries:
            entry.write(connection)

    def _done(self, settlements: Sequence[Settlement]) -> None:
        if (posted := self._posted) is not None:
            for settlement in settlements:
                posted(settlement)
        for settlement in settlements:
            future = settlement.future
            if future is not None and not future.done():
                future.set_result(settlement.amount)

    def _can(self) -> None:
        if not self.writable:
            self.writable = True
            self._delay = self._retry_seconds
            _log.info("ledger.writable")

    def _cannot(self, settlements: list[Settlement], entries: Sequence[Entry], error: StoreError) -> None:
        if self.writable:
            self.writable = False
            _log.error("ledger.unwritable", count=len(settlements), exc_info=error)
        else:
            self._delay = min(2 * self._delay, _LONGEST_RETRIES * self._retry_seconds)
        self._settlements[:0] = settlements
        for settlement in self._settlements:  # finished answers may go out: what they cost waits here
            if settlement.future is not None and not settlement.future.done():
                settlement.future.set_result(settlement.amount)
        for entry in entries:
            entry.failed(error)
        self._refuse_entries()

    def _refuse_entries(self) -> None:
        entries, self._entries = self._entries, []
        if (more := self._entry()) is not None:
            entries.append(more)
        for entry in entries:
            entry.failed(_not_now())

    async def _again_without_leases(self, settlements: list[Settlement], entries: Sequence[Entry]) -> None:
        self._settlements[:0] = settlements
        for entry in entries:
            if entry.survives:
                self._entries.append(entry)
            else:
                entry.failed(LeasesLost())
        try:
            await self._rejoin()
        except StoreError as error:
            self._cannot([], [], error)

    async def _one_by_one(self, settlements: Sequence[Settlement], entries: Sequence[Entry]) -> None:
        """One of them is bad: that one alone fails."""
        for settlement in settlements:
            try:
                await self._database.write(
                    lambda connection, one=settlement: self._write(connection, [one], [])
                )
            except (StoreError, LeasesLost):
                self._settlements.append(settlement)  # with the next commit, which meets the same
            except Exception as error:
                self._rejected(settlement)
                if settlement.future is None or settlement.future.done():
                    _log.error("ledger.settlement_refused", exc_info=error)
                else:
                    settlement.future.set_exception(error)
            else:
                self._done([settlement])
        for entry in entries:
            for part in entry.parts():
                try:
                    await self._database.write(part.write)
                except Exception as error:
                    part.failed(error)
                else:
                    part.written()


_LONGEST_RETRIES = 5
"""The longest wait between two tries, in first waits."""


def _not_now() -> StoreError:
    return StoreError("The database could not be written a moment ago.")

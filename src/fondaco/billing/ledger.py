"""The ledger: what requests may spend and have spent, exact whatever happens.

Money is held before a request runs, out of what this process has leased of each wall; it is settled, durably, before
the last byte of an answer leaves. Near a wall each hold is one conditional UPDATE, with CHECKs behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection

from fondaco.billing import epochs, posting, store
from fondaco.billing.balances import Balances, KnownBalances
from fondaco.billing.charge import Charge, Finder, outcome
from fondaco.billing.leases import Block, Leases
from fondaco.billing.line import Currency
from fondaco.billing.rounds import Hold, Round, Waiter
from fondaco.billing.settling import Ask, Journal, Settlement
from fondaco.billing.store import NoSuchAccount, TooMuch
from fondaco.clock import Clock
from fondaco.errors import InsufficientBalance, LedgerUnavailable
from fondaco.keys.caller import SpendLimits
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.store.presence import Presence
from fondaco.store.schema import EPOCH
from fondaco.telemetry.logs import logger

__all__ = ["Balances", "Charge", "Ledger", "NoSuchAccount", "TooMuch"]

_IDLE_SECONDS = 5.0
_LOOKS_WHILE_IDLE = 5
_RECALL_SECONDS = 0.15
_CLOSE_SECONDS = 5.0
_NOTE_LENGTH = 200
_NOTHING = NanoUsd(0)
_MILLISECOND = timedelta(milliseconds=1)

T = TypeVar("T")

_log = logger(__name__)


class Ledger:
    """One a process. Open it after its `presence`, and close it before.

    `balances`, `credit`, `set_diem_daily` and `relimit` also work without `open`, as the command line needs them.
    """

    def __init__(
        self,
        database: Store,
        clock: Clock,
        presence: Presence,
        *,
        prepaid: bool,
        minimum_balance: NanoUsd = _NOTHING,
        idle_seconds: float = _IDLE_SECONDS,
        retry_seconds: float = 1.0,
    ) -> None:
        """`idle_seconds` is how long a lease may lie unused, `retry_seconds` the first wait while nothing can be written."""
        self._database = database
        self._clock = clock
        self._presence = presence
        self._prepaid = prepaid
        self._book = "funds" if prepaid else "tab"
        self._look_seconds = idle_seconds / _LOOKS_WHILE_IDLE
        self._leases = Leases(clock, prepaid=prepaid, minimum=minimum_balance if prepaid else 0)
        self._known = KnownBalances(clock)
        self._journal = Journal(
            database,
            post=self._post,
            posted=self._posted if prepaid else None,
            rejected=self._rejected,
            entry=self._round,
            rejoin=self._rejoin,
            probe=self._probe,
            retry_seconds=retry_seconds,
        )
        self._waiting: list[Waiter] = []
        self._asking_others: dict[Waiter, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._today = epochs.day(0)
        self._asked_for: set[str] = set()
        self._looking = False
        self._changed_again = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def writable(self) -> bool:
        """False from a write that failed until the next that does not."""
        return self._journal.writable

    async def open(self) -> None:
        """Raises StoreError."""
        self._loop = asyncio.get_running_loop()
        self._database.on_foreign_change(self._changed)
        self._presence.on_lost(self._leases.lose)
        self._presence.on_expired(lambda connection: store.lapse(connection, self._now()))
        self._today = epochs.day(self._clock.unix())
        await self._database.write(lambda connection: store.end_windows(connection, self._now()))
        self._timer = self._loop.call_later(self._look_seconds, self._look)

    async def close(self) -> None:
        """Write what waits to be written, for some seconds if it cannot be, and give back what was leased."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop = None
        self._give_back(self._leases.all())
        if unwritten := await self._journal.close(_CLOSE_SECONDS):
            _log.error("ledger.unwritten", count=unwritten)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def charge(self, ticket: Ticket, model_id: str) -> Charge:
        """Open the account of one request. Raises LedgerUnavailable while nothing can be written."""
        if not self._journal.writable:
            raise LedgerUnavailable
        walled = self._prepaid or ((limits := ticket.caller.limits) is not None and limits.usd is not None)
        return Charge(self._leases, self._journal, self, ticket, model_id, walled)

    async def balances(self, account_id: str) -> Balances:
        """What the account has, from the database. Raises NoSuchAccount, and StoreError."""

        def read(connection: Connection) -> Balances | None:
            return store.balances(connection, [account_id], self._clock.unix()).get(account_id)

        try:
            found = await self._journal.ask(read)  # among the settlements, so that what is known stays true
        except StoreError:
            found = await self._database.read(read)
        if found is None:
            raise NoSuchAccount
        self._known.keep({account_id: found})
        return found

    def known_balances(self, account_id: str) -> Balances | None:
        """What the account had a moment ago. None where that is not known yet, or not told: in `metered`."""
        if not self._prepaid:
            return None
        known = self._known.get(account_id)
        if known is None:
            self._know_soon(account_id)
        return known

    async def credit(self, account_id: str, amount: NanoUsd, currency: Currency, note: str) -> Balances:
        """Put money into the account, or with a negative amount take it out; `note` says who and why.

        DIEM given so is good for the day. Raises InsufficientBalance if not so much is free to be taken out,
        NoSuchAccount, StoreError, TooMuch for more than fits, and ValueError for a note that is empty or over 200
        characters.
        """
        if not amount or not note.strip() or len(note) > _NOTE_LENGTH:
            raise ValueError("an amount and a note of 1 to 200 characters are needed")

        def work(connection: Connection) -> bool:
            return store.credit(connection, account_id, currency, amount, note, self._now())

        done = await self._of_account(work)
        if not done and await self._call_back(account_id):
            done = await self._of_account(work)
        if not done:
            raise InsufficientBalance
        return await self.balances(account_id)

    async def set_diem_daily(self, account_id: str, amount: NanoUsd, note: str) -> None:
        """What DIEM each day begins with, this one included; `note` says who and why.

        Raises NoSuchAccount, StoreError, and ValueError, of which TooMuch is one.
        """
        if amount < 0 or not note.strip() or len(note) > _NOTE_LENGTH:
            raise ValueError("an allowance that is not negative and a note of 1 to 200 characters are needed")

        def work(connection: Connection) -> None:
            store.set_diem_daily(connection, account_id, amount, note, self._now())

        await self._of_account(work)
        await self.balances(account_id)

    def relimit(self, connection: Connection, key_id: str, limits: SpendLimits | None) -> None:
        """Make these the key's limits, in the transaction that writes them to its row."""
        store.relimit(connection, key_id, limits, self._clock.unix())
        if (loop := self._loop) is not None:
            loop.call_soon_threadsafe(self._relimited, key_id)

    async def after_settlements(self, work: Callable[[Connection], T]) -> T:
        """Write `work` after every settlement that was asked for before. Raises StoreError."""
        return await self._journal.ask(work)

    async def wait(self, find: Finder, ceiling: int, least: int | None) -> Hold:
        """A hold that the database has a say in. Raises InsufficientBalance, KeySpendLimitExceeded, LedgerUnavailable."""
        if not self._journal.writable:
            raise LedgerUnavailable
        waiter = Waiter(find, ceiling, least, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._journal.wake()
        return await outcome(waiter.future)

    # What the journal asks for, and tells.

    def _round(self) -> Round | None:
        if not self._waiting:
            return None
        waiters = [waiter for waiter in self._waiting if not waiter.future.done()]
        self._waiting = []
        if not waiters:
            return None
        self._give_back(list({block for waiter in waiters for block in waiter.blocks() if block.back}))
        return Round(
            self._leases,
            waiters,
            gateway_id=self._presence.id,
            gateways=self._presence.gateways,
            now=self._now(),
            wait=self._ask_others,
            retry=self._again,
        )

    def _post(self, connection: Connection, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            option = settlement.option
            if option.blocks and not self._leases.is_mine(option):
                settlement.expired = True
                taken = store.take_expired(connection, option.wall_ids, sum(settlement.owed))
                settlement.cut(taken)
        posting.post(connection, settlements, gateway_id=self._presence.id, book=self._book, now=self._now())

    def _posted(self, settlement: Settlement) -> None:
        account_id, option = settlement.ticket.caller.account_id, settlement.option
        self._known.spend(account_id, option.currency, settlement.amount, option.until)

    def _rejected(self, settlement: Settlement) -> None:
        settlement.option.release(0, -settlement.amount)

    async def _rejoin(self) -> None:
        tenure = self._leases.tenure
        await self._presence.beat()
        if self._leases.tenure == tenure:
            # The row is there, the leases are not: nothing that is remembered of them can be relied on.
            _log.error("ledger.leases_lost")
            self._leases.lose()

    def _probe(self, connection: Connection) -> None:
        store.touch(connection, self._presence.id, self._now())

    # Other gateways, and the command line.

    def _ask_others(self, waiter: Waiter) -> None:
        if not waiter.patient:
            self._again(waiter)
            return
        if not waiter.timed:
            waiter.timed = True
            asyncio.get_running_loop().call_later(_RECALL_SECONDS, self._last_try, waiter)
        self._asking_others[waiter] = None

    def _last_try(self, waiter: Waiter) -> None:
        waiter.patient = False
        if waiter in self._asking_others:
            del self._asking_others[waiter]
            self._again(waiter)

    def _again(self, waiter: Waiter) -> None:
        self._waiting.append(waiter)
        self._journal.wake()

    def _changed(self) -> None:
        self._leases.forget()
        asking, self._asking_others = self._asking_others, {}
        for waiter in asking:
            self._again(waiter)
        if self._looking:
            self._changed_again = True
        elif self._loop is not None:
            self._looking = True
            self._start(self._look_at_changes)

    async def _look_at_changes(self) -> None:
        try:
            while True:
                self._changed_again = False
                await self._give_back_recalled()
                if self._prepaid:
                    await self._refresh(self._known.used())
                if not self._changed_again:
                    return
        except StoreError as error:
            _log.warning("ledger.not_read", exc_info=error)
        finally:
            self._looking = False

    async def _give_back_recalled(self) -> None:
        if self._leases.all():
            gateway_id = self._presence.id
            if not await self._database.read(lambda connection: store.is_recalled(connection, gateway_id)):
                return
            wanted = await self._journal.ask(lambda connection: store.hear_recall(connection, gateway_id))
            blocks = self._leases.of_walls(wanted)
            for block in blocks:
                block.recall()
            self._give_back(blocks)

    async def _refresh(self, account_ids: Sequence[str]) -> None:
        if not account_ids:
            return
        second = self._clock.unix()
        found = await self._journal.ask(lambda connection: store.balances(connection, account_ids, second))
        self._known.keep(found)

    def _know_soon(self, account_id: str) -> None:
        async def refresh() -> None:
            try:
                await self._refresh([account_id])
            except StoreError as error:
                _log.warning("ledger.not_read", exc_info=error)
            finally:
                self._asked_for.discard(account_id)

        if self._loop is not None and account_id not in self._asked_for:
            self._asked_for.add(account_id)
            self._start(refresh)

    def _relimited(self, key_id: str) -> None:
        self._leases.forget()
        blocks = self._leases.of_owner(key_id)
        for block in blocks:
            block.recall()
        self._give_back(blocks)

    async def _call_back(self, account_id: str) -> bool:
        """Have what is idle of an account's funds given back, here and elsewhere. False if there was nothing."""
        mine = any(block.idle for block in self._leases.of_owner(account_id))
        self._give_back(self._leases.of_owner(account_id))
        gateway_id = self._presence.id
        there = await self._journal.ask(
            lambda connection: store.recall_funds(connection, account_id, gateway_id)
        )
        if there:
            await asyncio.sleep(_RECALL_SECONDS)
        return there or mine

    async def _of_account(self, work: Callable[[Connection], T]) -> T:
        """What `work` returns; its NoSuchAccount or TooMuch fails it alone, and not the commit that it shares."""

        def guarded(connection: Connection) -> T | NoSuchAccount | TooMuch:
            try:
                return work(connection)
            except (NoSuchAccount, TooMuch) as error:
                return error

        result = await self._journal.ask(guarded)
        if isinstance(result, (NoSuchAccount, TooMuch)):
            raise result
        self._leases.forget()
        return result

    # What lies unused, and what is over.

    def _look(self) -> None:
        """A few times in the time that a lease may lie unused."""
        if self._loop is None:
            return
        self._timer = self._loop.call_later(self._look_seconds, self._look)
        if not self._journal.writable:
            return
        self._give_back(self._leases.idle())
        if (today := epochs.day(self._clock.unix())) != self._today:
            self._today = today
            now = self._now()
            self._journal.add(Ask(lambda connection: store.end_windows(connection, now), _nothing, _nothing))

    def _give_back(self, blocks: Sequence[Block]) -> None:
        """What is idle in these blocks is free again; those with nothing in them are forgotten."""
        back = [
            (block, block.idle + block.back) for block in blocks if block.idle or block.back or not block.held
        ]
        if not back:
            return
        for block, _ in back:
            block.idle = block.back = 0
            block.rounds += 1
        now, gateway_id, leases = self._now(), self._presence.id, self._leases

        def work(connection: Connection) -> None:
            for block, amount in back:
                if block.tenure == leases.tenure:
                    store.give_back(connection, block.wall, gateway_id, amount, now)

        def end() -> None:
            for block, _ in back:
                block.end_round()

        def done(_: None) -> None:
            end()
            leases.forget()
            leases.drop(block for block, _ in back)

        def undone(_: BaseException) -> None:
            for block, amount in back:
                block.back += amount
            end()

        self._journal.add(Ask(work, done, undone))

    def _now(self) -> int:
        return (self._clock.now() - EPOCH) // _MILLISECOND

    def _start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _nothing(_: object) -> None:
    pass

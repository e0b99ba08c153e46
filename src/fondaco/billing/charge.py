"""What one request may cost and has cost: a hold before, a bill after, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fondaco.billing.leases import FREELY, Block, Leases, Option
from fondaco.billing.line import Bill, Currency
from fondaco.billing.rounds import Hold
from fondaco.billing.settling import Journal, Settlement, cut
from fondaco.billing.use import Use
from fondaco.errors import InsufficientBalance, KeySpendLimitExceeded, LedgerUnavailable
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd


class Queue(Protocol):
    """Where requests wait that found too little idle."""

    async def wait(self, find: Finder, ceiling: int, least: int | None) -> Hold:
        """Raises InsufficientBalance, KeySpendLimitExceeded or LedgerUnavailable."""
        ...


class Finder(Protocol):
    def __call__(self) -> tuple[Sequence[Option], Sequence[Block]]: ...


class Charge:
    """Of one request. Ends at most once, settled or voided; voiding what has ended changes nothing.

    Whoever is cancelled while it holds has nothing held.
    """

    __slots__ = ("_ended", "_journal", "_leases", "_option", "_queue", "held", "model_id", "ticket", "walled")

    def __init__(
        self, leases: Leases, journal: Journal, queue: Queue, ticket: Ticket, model_id: str, walled: bool
    ) -> None:
        self.ticket = ticket
        self.model_id = model_id
        self.walled = walled
        """There is a wall before it: it is charged no more than it holds."""
        self.held = NanoUsd(0)
        self._leases = leases
        self._journal = journal
        self._queue = queue
        self._option = FREELY
        self._ended = False
        journal.pace.under_way += 1

    @property
    def currency(self) -> Currency:
        """What it is charged in; settled by `hold`."""
        return self._option.currency

    async def hold(self, ceiling: NanoUsd, least: NanoUsd | None = None) -> NanoUsd:
        """Hold `ceiling`, or what the money left can pay if that is at least `least`; return what is held.

        What was held before is given back first. Raises InsufficientBalance, KeySpendLimitExceeded or LedgerUnavailable; then nothing is held.
        """
        if self.walled and self.held:
            self._option.release(self.held, 0)
            self.held = NanoUsd(0)
        if not self.walled or ceiling <= 0:
            self.held = ceiling
            return ceiling
        path = self._leases.path(self.ticket.caller)
        option = self._leases.hold_now(path, ceiling)
        if option is not None:
            self._option = option
            self.held = ceiling
            return ceiling
        self._option, amount = await self._queue.wait(self._choices, ceiling, least)
        self.held = NanoUsd(amount)
        return self.held

    async def grow(self, more: NanoUsd) -> bool:
        """Hold so much more in the same currency. False if that cannot be had; what was held stays."""
        if not self.walled or more <= 0:
            self.held = NanoUsd(self.held + more)
            return True
        if not self._option.blocks or not self._leases.is_mine(self._option):
            return False
        if not self._leases.grow_now(self._option, more):
            try:
                hold = await self._queue.wait(self._same, more, None)
            except (InsufficientBalance, KeySpendLimitExceeded, LedgerUnavailable):
                return False
            if self._ended:  # by another task, while this one waited
                hold.option.release(hold.amount, 0)
                return False
        self.held = NanoUsd(self.held + more)
        return True

    async def settle(self, bill: Bill, use: Use) -> NanoUsd:
        """Charge the bill, but never more than is held where there is a wall; return what is charged.

        It is durable then; while the database cannot be written, it will be. Cancelling the wait changes nothing.
        """
        settlement = self._end(bill, use)
        return NanoUsd(0) if settlement is None else await self._journal.settle(settlement)

    def settle_soon(self, bill: Bill, use: Use) -> None:
        """As `settle`, without waiting for it."""
        settlement = self._end(bill, use)
        if settlement is not None:
            self._journal.post(settlement)

    def void(self) -> None:
        """Charge nothing."""
        if not self._ended:
            self._ended = True
            self._journal.pace.under_way -= 1
            self._option.release(self.held, 0)

    def _end(self, bill: Bill, use: Use) -> Settlement | None:
        if self._ended:
            raise RuntimeError("a charge ends once")
        self._ended = True
        self._journal.pace.under_way -= 1
        amounts: list[int] = [line.amount for line in bill]
        owed = sum(amounts)
        if self.walled:
            held = self.held
            if owed > held:
                amounts, owed = cut(amounts, held), int(held)
            self._option.release(held, owed)
        if not bill and not self.ticket.joins:
            return None
        return Settlement(self.ticket, self.model_id, self._option, bill, amounts, owed, use)

    def _choices(self) -> tuple[Sequence[Option], Sequence[Block]]:
        path = self._leases.path(self.ticket.caller)
        return path.options, path.funds

    def _same(self) -> tuple[Sequence[Option], Sequence[Block]]:
        mine = self._leases.is_mine(self._option)
        return ((self._option,) if mine else ()), ()


async def outcome(future: asyncio.Future[Hold]) -> Hold:
    """What a waiter was given. Cancelled at the very moment it was, it gives it back."""
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled() and future.exception() is None:
            hold = future.result()
            hold.option.release(hold.amount, 0)
        raise

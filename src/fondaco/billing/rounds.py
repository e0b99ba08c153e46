"""A round: requests that found too little idle here go to the database together, and each gets all it needs or nothing.

What is idle in their walls' blocks is set aside for the round's time, so that its reckoning stands until it is
committed. Refusing takes more than finding too little: first the other gateways are asked for what they do not need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from fondaco.billing import store
from fondaco.billing.leases import Block, Leases, Option
from fondaco.billing.store import LeasesLost
from fondaco.billing.walls import counts_as
from fondaco.errors import FondacoError, InsufficientBalance, KeySpendLimitExceeded, LedgerUnavailable
from fondaco.store.errors import StoreError

_NEAR: Final = 20
"""A wall is near where a block would be less than so many ceilings: there a block is one ceiling."""

_SHARE: Final = 4
"""A block is at most one of so many parts of what is free, divided by the live gateways."""


class Waiter:
    """A request that waits for a hold."""

    __slots__ = ("ceiling", "find", "future", "least", "patient", "timed")

    def __init__(
        self,
        find: Callable[[], tuple[Sequence[Option], Sequence[Block]]],
        ceiling: int,
        least: int | None,
        future: asyncio.Future[Hold],
    ) -> None:
        self.find = find
        """Its options now, and the funds of which a minimum must be left."""
        self.ceiling = ceiling
        self.least = least
        """What it would also do with; None for nothing less than the ceiling."""
        self.future = future
        self.patient = True
        """Others may still be asked for what they do not need."""
        self.timed = False
        """It is known when it will have waited for them long enough."""

    def blocks(self) -> list[Block]:
        """Of all its options."""
        return [block for option in self.find()[0] for block in option.blocks]


class Hold(NamedTuple):
    option: Option
    amount: int


class Round:
    """Made on the event loop, written in the writer's thread, and brought home on the loop."""

    survives = False

    def __init__(
        self,
        leases: Leases,
        waiters: Sequence[Waiter],
        *,
        gateway_id: str,
        gateways: int,
        now: int,
        wait: Callable[[Waiter], None],
        retry: Callable[[Waiter], None],
    ) -> None:
        """`wait` is told who waits for other gateways, `retry` who must begin anew."""
        self._leases = leases
        self._generation = leases.generation  # what changes from now on may not be seen by this round
        self._gateway_id = gateway_id
        self._gateways = gateways
        self._now = now
        self._wait = wait
        self._retry = retry
        self._wants: list[_Want] = []
        self._aside: dict[Block, int] = {}
        self._result = _Result()
        for waiter in waiters:
            options, funds = waiter.find()
            self._wants.append(_Want(waiter, options, funds))
            for block in (*(block for option in options for block in option.blocks), *funds):
                if block not in self._aside:
                    self._aside[block], block.idle = block.idle, 0
                    block.rounds += 1

    def write(self, connection: Connection) -> None:
        """Raises LeasesLost."""
        if not store.is_gateway(connection, self._gateway_id):
            raise LeasesLost
        result = self._result = _Result()
        asked: dict[tuple[str, ...], bool] = {}
        for want in self._wants:
            result.answers.append(self._answer(connection, want, asked))
        for block, taken in result.taken.items():
            free, short = result.free[block], taken - self._aside[block]
            if short <= 0:
                continue
            share = free // (_SHARE * self._gateways)
            amount = max(short, share) if share >= _NEAR * result.largest[block] else short
            store.lease(connection, block.wall.id, self._gateway_id, amount)
            result.leased[block] = amount

    def written(self) -> None:
        result = self._result
        for block, aside in self._aside.items():
            taken, leased = result.taken.get(block, 0), result.leased.get(block, 0)
            block.idle += aside + leased - taken
            block.held += taken
            block.end_round()
            if taken:
                block.quiet = 0
            if block in result.free:
                self._leases.saw(block, result.free[block] - leased, self._generation)
        for want, answer in zip(self._wants, result.answers, strict=True):
            future = want.waiter.future
            if isinstance(answer, Hold):
                if future.done():  # nobody waits any more
                    answer.option.release(answer.amount, 0)
                else:
                    future.set_result(answer)
            elif future.done():
                continue
            elif answer is None:
                self._wait(want.waiter)
            else:
                future.set_exception(answer)

    def failed(self, error: BaseException) -> None:
        for block, aside in self._aside.items():
            block.idle += aside
            block.end_round()
        for want in self._wants:
            if want.waiter.future.done():
                continue
            if isinstance(error, LeasesLost):
                self._retry(want.waiter)
            else:
                refusal = LedgerUnavailable() if isinstance(error, StoreError) else error
                want.waiter.future.set_exception(refusal)

    def parts(self) -> Iterator[Round]:
        """The same, each request for itself, made when the one before is over. This round is over then."""
        for block, aside in self._aside.items():
            block.idle += aside
            block.end_round()
        for want in self._wants:
            yield self._alone(want.waiter)

    def _alone(self, waiter: Waiter) -> Round:
        return Round(
            self._leases,
            [waiter],
            gateway_id=self._gateway_id,
            gateways=self._gateways,
            now=self._now,
            wait=self._wait,
            retry=self._retry,
        )

    def _answer(
        self, connection: Connection, want: _Want, asked: dict[tuple[str, ...], bool]
    ) -> Hold | FondacoError | None:
        """None for one who waits for the other gateways."""
        waiter = want.waiter
        spare = self._spare(connection, want)
        if spare is None or spare >= waiter.ceiling:
            for option in want.options:
                if self._covers(connection, option.blocks, waiter.ceiling):
                    return self._take(option, waiter.ceiling, waiter.ceiling)
        if waiter.patient:
            wall_ids = tuple({block.wall.id: None for option in want.options for block in option.blocks})
            if wall_ids not in asked:
                asked[wall_ids] = store.recall(connection, wall_ids, self._gateway_id)
            if asked[wall_ids]:
                return None
        if waiter.least is not None:
            best, amount = self._best(connection, want)
            amount = min(amount, waiter.ceiling) if spare is None else min(amount, waiter.ceiling, spare)
            if best is not None and amount >= max(waiter.least, 1):
                return self._take(best, amount, waiter.ceiling)
        return self._refusal(connection, want, spare)

    def _spare(self, connection: Connection, want: _Want) -> int | None:
        """What may be held so that the minimum is left; None where there is none."""
        if not self._leases.minimum or not want.funds:
            return None
        return sum(self._left(connection, block) for block in want.funds) - self._leases.minimum

    def _best(self, connection: Connection, want: _Want) -> tuple[Option | None, int]:
        best, most = None, 0
        for option in want.options:
            left = min(self._left(connection, block) for block in option.blocks)
            if left > most:
                best, most = option, left
        return best, most

    def _refusal(self, connection: Connection, want: _Want, spare: int | None) -> FondacoError:
        least = max(want.waiter.ceiling if want.waiter.least is None else want.waiter.least, 1)
        if spare is None or spare >= least:
            for option in want.options:
                *funds, last = option.blocks
                if last.wall.kind == "key" and self._covers(connection, funds, least):
                    return KeySpendLimitExceeded(counts_as(option.currency))
        return InsufficientBalance()

    def _covers(self, connection: Connection, blocks: Sequence[Block], amount: int) -> bool:
        return all(self._left(connection, block) >= amount for block in blocks)

    def _left(self, connection: Connection, block: Block) -> int:
        """What this round can still give out of a wall."""
        result = self._result
        free = result.free.get(block)
        if free is None:
            free = result.free[block] = store.free_in(connection, block.wall, self._now)
        return self._aside[block] + free - result.taken.get(block, 0)

    def _take(self, option: Option, amount: int, ceiling: int) -> Hold:
        result = self._result
        for block in option.blocks:
            result.taken[block] = result.taken.get(block, 0) + amount
            result.largest[block] = max(result.largest.get(block, 0), ceiling)
        return Hold(option, amount)


class _Want(NamedTuple):
    waiter: Waiter
    options: Sequence[Option]
    funds: Sequence[Block]


class _Result:
    def __init__(self) -> None:
        self.answers: list[Hold | FondacoError | None] = []
        self.free: dict[Block, int] = {}
        """What was free in each wall that was looked at, before this round took of it."""
        self.taken: dict[Block, int] = {}
        self.largest: dict[Block, int] = {}
        self.leased: dict[Block, int] = {}

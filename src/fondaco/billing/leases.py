"""What this process has leased of each wall, and which walls a caller's requests stand before.

Far from a wall a hold is arithmetic in here: out of the idle part of a block into the held part. All of it is for the
event loop; the rows that stand behind it are written by `rounds.py` and `settling.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from fondaco.billing import epochs, walls
from fondaco.billing.line import Currency
from fondaco.billing.walls import ORDER, Wall
from fondaco.clock import Clock
from fondaco.keys.caller import Caller, SpendLimits

_QUIET_LOOKS: Final = 5
_MOST_PATHS: Final = 10_000


class Block:
    """This process's lease on one wall: an idle part, and what requests hold."""

    __slots__ = (
        "back",
        "due",
        "free",
        "generation",
        "held",
        "idle",
        "late",
        "quiet",
        "rounds",
        "tenure",
        "wall",
    )

    def __init__(self, wall: Wall, tenure: int) -> None:
        self.wall = wall
        self.tenure = tenure
        """Which of the process's lives on the database it belongs to."""
        self.idle = 0
        self.held = 0
        self.due = 0
        """So much of what is held goes back to the wall when it is released: it was recalled meanwhile."""
        self.back = 0
        """Released, and on its way back."""
        self.free = 0
        """What was free in the wall when it was last looked at, which was in `generation`."""
        self.generation = -1
        self.quiet = 0
        """Looks since it was last held from."""
        self.rounds = 0
        """Writes that are under way with it."""
        self.late = False
        """It was recalled while one was."""

    def recall(self) -> None:
        """Nothing that is in it now is held again before it was back in its wall: a limit may have changed."""
        self.late = self.rounds > 0
        self.due = self.held
        self.back += self.idle
        self.idle = 0

    def end_round(self) -> None:
        """What a write brought is in."""
        self.rounds -= 1
        if self.late and not self.rounds:
            self.recall()


class Option:
    """One currency that a request may be charged in, and the blocks that all must hold it."""

    __slots__ = ("blocks", "currency", "key_wall", "since", "tenure", "until", "wall_ids")

    def __init__(self, currency: Currency, blocks: tuple[Block, ...] = (), tenure: int = 0) -> None:
        self.currency: Currency = currency
        self.blocks = blocks
        self.tenure = tenure
        self.wall_ids = tuple(block.wall.id for block in blocks)
        self.until = min((block.wall.window.until for block in blocks), default=epochs.ALWAYS.until)
        """The Unix second in which the first of its windows ends."""
        self.since = max((block.wall.window.start for block in blocks), default=0)
        """The Unix millisecond in which the last of them begins."""
        self.key_wall = next((block.wall.id for block in blocks if block.wall.kind == "key"), "")
        """Which of its walls is the key's limit, if one is."""

    def take(self, amount: int) -> None:
        """From idle to held, in each block; the caller has seen that it is there."""
        for block in self.blocks:
            block.idle -= amount
            block.held += amount
            block.quiet = 0

    def release(self, held: int, spent: int) -> None:
        """A hold ends: `spent` of it leaves the blocks, the rest is idle again."""
        for block in self.blocks:
            block.held -= held
            if block.due:
                back = min(held - spent, block.due)
                block.due -= min(held, block.due)
                block.back += back
                block.idle -= back
            block.idle += held - spent


FREELY: Final = Option("USD")
"""No wall: what is only written down."""


class Path:
    """The ways in which one key's requests can be paid, the first choice first, until the day is over."""

    __slots__ = ("funds", "limits", "options", "until")

    def __init__(
        self, limits: SpendLimits | None, until: int, options: tuple[Option, ...], funds: tuple[Block, ...]
    ) -> None:
        self.limits = limits
        self.until = until
        self.options = options
        self.funds = funds
        """All of the account's funds, where a minimum must be left of them."""


class Leases:
    def __init__(self, clock: Clock, *, prepaid: bool, minimum: int) -> None:
        self.tenure = 0
        self.minimum = minimum
        """What an account's funds must still be when a request's ceiling is held."""
        self._clock = clock
        self._prepaid = prepaid
        self.generation = 0
        """Moves with each `forget`."""
        self._blocks: dict[str, Block] = {}
        self._paths: dict[str, Path] = {}

    def path(self, caller: Caller) -> Path:
        path = self._paths.get(caller.key_id)
        if path is None or path.limits is not caller.limits or self._clock.unix() >= path.until:
            path = self._pave(caller)
        return path

    def hold_now(self, path: Path, ceiling: int) -> Option | None:
        """Hold `ceiling` from what is idle here; None if that is not enough, or another currency may come first."""
        if self.minimum and not self._leaves_minimum(path, ceiling):
            return None
        for option in path.options:
            for block in option.blocks:
                if block.idle < ceiling:
                    break
            else:
                option.take(ceiling)
                return option
            if not self._is_short(option, ceiling):
                return None
        return None

    def grow_now(self, option: Option, more: int) -> bool:
        for block in option.blocks:
            if block.idle < more:
                return False
        option.take(more)
        return True

    def saw(self, block: Block, free: int, generation: int) -> None:
        """So much was free in its wall, in that generation."""
        block.free = free
        block.generation = generation

    def forget(self) -> None:
        """Something has changed in the database: what was seen there may not be so any more."""
        self.generation += 1

    def lose(self) -> None:
        """Nothing is leased any more. Holds that are out find their blocks to be of an earlier tenure."""
        self.tenure += 1
        self._blocks.clear()
        self._paths.clear()

    def is_mine(self, option: Option) -> bool:
        """Its leases are still this process's."""
        return option.tenure == self.tenure or not option.blocks

    def idle(self) -> list[Block]:
        """Blocks of which the idle part should go back: nobody has held from them lately, or their window is over.

        Called once in a fifth of the time that a block may be idle.
        """
        now = self._clock.unix()
        found: list[Block] = []
        for block in self._blocks.values():
            block.quiet += 1
            if block.back or block.quiet > _QUIET_LOOKS or block.wall.window.until <= now:
                found.append(block)
        return found

    def of_walls(self, wall_ids: Iterable[str]) -> list[Block]:
        return [block for wall_id in wall_ids if (block := self._blocks.get(wall_id))]

    def of_owner(self, owner: str) -> list[Block]:
        """The blocks of a key's or an account's walls."""
        return [block for block in self._blocks.values() if block.wall.owner == owner]

    def all(self) -> list[Block]:
        return list(self._blocks.values())

    def drop(self, blocks: Iterable[Block]) -> None:
        """Forget those of these that have nothing in them."""
        gone = [
            block
            for block in blocks
            if not block.idle
            and not block.back
            and not block.held
            and not block.rounds
            and block.tenure == self.tenure
        ]
        for block in gone:
            self._blocks.pop(block.wall.id, None)
        if gone:
            self._paths.clear()

    def _is_short(self, option: Option, ceiling: int) -> bool:
        """It is known that one of its walls has not got so much, here and in the database together."""
        for block in option.blocks:
            if block.generation == self.generation and block.idle + block.free < ceiling:
                return True
        return False

    def _leaves_minimum(self, path: Path, ceiling: int) -> bool:
        seen = sum(
            block.idle + (block.free if block.generation == self.generation else 0) for block in path.funds
        )
        return seen - ceiling >= self.minimum

    def _pave(self, caller: Caller) -> Path:
        second = self._clock.unix()
        until = epochs.day(second).until
        currencies: Sequence[Currency] = ORDER if self._prepaid else ("USD",)
        options: list[Option] = []
        funds: list[Block] = []
        for currency in currencies:
            blocks: list[Block] = []
            if self._prepaid:
                blocks.append(self._block(walls.funds(caller.account_id, currency, second)))
                funds += blocks
            limited = walls.of_key(
                caller.key_id, caller.account_id, walls.counts_as(currency), caller.limits, second
            )
            if limited is not None:
                blocks.append(self._block(limited))
            options.append(Option(currency, tuple(blocks), self.tenure))
        if len(self._paths) >= _MOST_PATHS:
            self._paths.clear()
        path = self._paths[caller.key_id] = Path(caller.limits, until, tuple(options), tuple(funds))
        return path

    def _block(self, wall: Wall) -> Block:
        block = self._blocks.get(wall.id)
        if block is None:
            block = self._blocks[wall.id] = Block(wall, self.tenure)
        return block

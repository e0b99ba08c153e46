"""Turns: shared by all, and never all one account's."""

from __future__ import annotations

import asyncio

import pytest

from fondaco.augment.turns import Turns

pytestmark = pytest.mark.anyio


class Room:
    """Where turns are spent. Notes who is inside."""

    def __init__(self, turns: Turns) -> None:
        self.inside: list[str | None] = []
        self.most: dict[str | None, int] = {}
        self._turns = turns
        self._leave = asyncio.Event()

    async def visit(self, account: str | None) -> None:
        async with self._turns.turn(account):
            self.inside.append(account)
            self.most[account] = max(self.most.get(account, 0), self.inside.count(account))
            await self._leave.wait()
            self.inside.remove(account)

    def open_door(self) -> None:
        self._leave.set()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_account_leaves_a_turn_to_others_however_many_of_its_own_wait() -> None:
    room = Room(Turns(3))
    greedy = [asyncio.create_task(room.visit("greedy")) for _ in range(20)]
    await settled()
    assert room.inside == ["greedy"] * 2
    late = asyncio.create_task(room.visit("late"))
    await settled()
    assert room.inside == ["greedy", "greedy", "late"]
    room.open_door()
    await asyncio.gather(late, *greedy)
    assert room.most == {"greedy": 2, "late": 1}


async def test_a_share_can_be_smaller_and_is_never_nothing() -> None:
    for turns, share in ((Turns(9, each=4), 4), (Turns(1), 1)):
        room = Room(turns)
        visits = [asyncio.create_task(room.visit("a")) for _ in range(9)]
        await settled()
        assert len(room.inside) == share
        room.open_door()
        await asyncio.gather(*visits)


async def test_the_servers_own_work_has_every_turn_that_is_free() -> None:
    room = Room(Turns(3))
    visits = [asyncio.create_task(room.visit(None)) for _ in range(5)]
    await settled()
    assert len(room.inside) == 3
    room.open_door()
    await asyncio.gather(*visits)


async def test_who_leaves_the_line_or_breaks_inside_gives_his_turn_back() -> None:
    turns = Turns(2)
    room = Room(turns)
    inside, waiting = (asyncio.create_task(room.visit("a")) for _ in range(2))
    await settled()
    waiting.cancel()
    room.open_door()
    await asyncio.gather(inside, waiting, return_exceptions=True)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            async with asyncio.timeout(1), turns.turn("a"):
                raise ZeroDivisionError
    async with asyncio.timeout(1), turns.turn("a"), turns.turn("b"):
        pass

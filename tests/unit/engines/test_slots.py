"""Slots: order, room and whose prompt is remembered."""

from __future__ import annotations

import asyncio
import random

import pytest

from fondaco.engines.slots import EngineGone, Grant, SlotTable

pytestmark = pytest.mark.anyio


async def waiting(table: SlotTable, *given: object) -> asyncio.Task[Grant]:
    """Someone who stands in the queue."""
    task = asyncio.create_task(table.acquire(*given))  # pyright: ignore[reportArgumentType]
    await asyncio.sleep(0)
    return task


async def test_an_account_gets_its_own_slot_back_with_its_prompt() -> None:
    table = SlotTable(3, 1000, 1000)
    first = await table.acquire("a", 10)
    table.release(first)
    again = await table.acquire("a", 10)
    assert again.slots == first.slots
    assert again.cache_prompt
    assert not first.cache_prompt


async def test_another_account_gets_a_fresh_slot_and_never_a_remembered_prompt() -> None:
    table = SlotTable(2, 1000, 1000)
    table.release(await table.acquire("a", 10))
    other = await table.acquire("b", 10)
    assert not other.cache_prompt
    third = await table.acquire("c", 10)
    assert third.slots != other.slots
    assert not third.cache_prompt
    table.release(third)
    assert not (await table.acquire("a", 10)).cache_prompt, "c used the slot since"


async def test_with_no_fresh_slot_the_one_unused_for_longest_is_taken() -> None:
    table = SlotTable(2, 1000, 1000)
    a, b = await table.acquire("a", 10), await table.acquire("b", 10)
    table.release(b)
    table.release(a)
    assert (await table.acquire("c", 10)).slots == b.slots


async def test_a_busy_slot_of_the_same_account_is_not_shared() -> None:
    table = SlotTable(2, 1000, 1000)
    table.release(await table.acquire("a", 10))
    first, second = await table.acquire("a", 10), await table.acquire("a", 10)
    assert set(first.slots).isdisjoint(second.slots)
    assert first.cache_prompt
    assert not second.cache_prompt


async def test_requests_are_let_in_as_they_came_even_if_a_later_one_would_fit() -> None:
    table = SlotTable(4, 100, 100)
    running = await table.acquire("a", 60)
    large = await waiting(table, "b", 50)
    small = await waiting(table, "c", 10)
    assert not large.done()
    assert not small.done(), "it would fit, but it came later"
    table.release(running)
    assert (await large).account == "b"
    assert (await small).account == "c"


async def test_more_than_the_whole_context_is_let_in_alone() -> None:
    table = SlotTable(4, 100, 100)
    huge = await table.acquire("a", 10_000)
    other = await waiting(table, "b", 1)
    assert not other.done()
    table.release(huge)
    assert (await other).slots


async def test_a_request_never_counts_for_more_than_the_model_lets_it_use() -> None:
    table = SlotTable(4, 100, 50)
    await table.acquire("a", 10_000)
    await asyncio.wait_for(table.acquire("b", 10_000), 1)
    assert table.free_tokens == 0


async def test_one_who_stops_waiting_lets_the_next_through() -> None:
    table = SlotTable(4, 100, 100)
    await table.acquire("a", 60)
    large, small = await waiting(table, "b", 50), await waiting(table, "c", 10)
    large.cancel()
    assert (await small).tokens == 10
    assert table.waiting == 0


async def test_one_who_stops_waiting_just_when_let_in_gives_it_back() -> None:
    table = SlotTable(1, 100, 100)
    running = await table.acquire("a", 60)
    next_one = await waiting(table, "b", 50)
    table.release(running)
    next_one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await next_one
    assert table.busy == 0
    assert table.free_tokens == 100


async def test_the_engines_end_is_told_to_all_who_wait() -> None:
    table = SlotTable(1, 100, 100)
    running = await table.acquire("a", 60)
    waiters = [await waiting(table, "b", 50), await waiting(table, "c", 50)]
    table.close()
    for waiter in waiters:
        with pytest.raises(EngineGone):
            await waiter
    table.release(running)
    with pytest.raises(EngineGone):
        await table.acquire("d", 1)


async def test_several_choices_hold_as_many_slots() -> None:
    table = SlotTable(4, 100, 100)
    plural = await table.acquire("a", 10, 3)
    assert len(set(plural.slots)) == 3
    pair = await waiting(table, "b", 10, 2)
    assert not pair.done()
    table.release(plural)
    assert len((await pair).slots) == 2


async def test_after_several_choices_only_their_first_slot_is_remembered() -> None:
    table = SlotTable(3, 100, 100)
    for grant in [await table.acquire(name, 1) for name in ("x", "y", "z")]:
        table.release(grant)
    plural = await table.acquire("a", 10, 2)
    table.release(plural)
    for account in ("x", "y", "z"):
        grant = await table.acquire(account, 1)
        assert not grant.cache_prompt, "the engine may have used any idle slot for the second choice"
    table = SlotTable(3, 100, 100)
    table.release(await table.acquire("a", 10, 2))
    assert (await table.acquire("a", 10)).cache_prompt


async def test_a_slot_used_beside_several_choices_is_nobodys() -> None:
    table = SlotTable(4, 100, 100)
    plural = await table.acquire("a", 10, 2)
    beside = await table.acquire("b", 10)
    table.release(beside)
    table.release(plural)
    assert not (await table.acquire("b", 10)).cache_prompt


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_and_goes_the_context_is_never_overdrawn_nor_a_prompt_shared(seed: int) -> None:
    chance = random.Random(seed)
    table = SlotTable(4, 100, 60)
    last_user: dict[int, str | None] = {}
    held: list[Grant] = []

    async def come() -> None:
        choices = chance.choice((1, 1, 1, 2, 4))
        grant = await table.acquire(chance.choice("abc"), chance.randint(0, 150), choices)
        taken = [slot for other in held for slot in other.slots]
        assert set(taken).isdisjoint(grant.slots)
        if grant.cache_prompt:
            assert last_user[grant.slots[0]] == grant.account
        if choices > 1:
            last_user.clear()
            last_user.update(dict.fromkeys(range(4)))
        held.append(grant)
        assert sum(other.tokens for other in held) <= 100
        await asyncio.sleep(chance.random() / 500)
        held.remove(grant)
        for slot in grant.slots:
            last_user[slot] = grant.account if slot == grant.slots[0] else None
        table.release(grant)

    comers = [asyncio.create_task(come()) for _ in range(60)]
    for leaver in chance.sample(comers, 10):
        leaver.cancel()
    done = await asyncio.gather(*comers, return_exceptions=True)
    assert [one for one in done if one is not None and not isinstance(one, asyncio.CancelledError)] == []
    assert (table.busy, table.waiting, table.free_tokens) == (0, 0, 100)

"""What is held for a chat before its engine is asked, how the hold grows, and what is owed in the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fondaco.billing.line import Bill, total
from fondaco.billing.prices.tokens import chat_ceiling
from fondaco.billing.use import Use
from fondaco.chat.answer_wire import PromptTokensDetails, Usage
from fondaco.chat.charging import STEP, Growth, Spending, SpendLimit, guessed_tokens, reservation
from fondaco.chat.messages import UserMessage, unusual
from fondaco.chat.plan import Plan
from fondaco.errors import InsufficientBalance
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model
from fondaco.money import NanoUsd
from fondaco.upstream.wire import EngineChoice, EngineRequest

pytestmark = pytest.mark.anyio

CATALOGUE = Catalogue()
CHEAP = CATALOGUE.of_type("text")["qwen3-4b"]  # 50 and 150 nano-dollars a token
CACHED = CATALOGUE.of_type("text")["deepseek-v3.2"]


class Hand:
    """Moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> Any: ...
    def unix(self) -> int: ...  # pyright: ignore[reportReturnType]


class Till:
    """A request's money: so much is left."""

    def __init__(self, left: int = 10**18, *, walled: bool = True, currency: str = "USD") -> None:
        self.left = left
        self.walled = walled
        self.currency = currency
        self.held = 0
        self.holds: list[int] = []
        self.ended: list[tuple[str, int, Use | None, int]] = []

    async def hold(self, ceiling: NanoUsd, least: NanoUsd | None = None) -> NanoUsd:
        amount = ceiling if ceiling <= self.left else self.left
        if amount < ceiling and (least is None or amount < least):
            raise InsufficientBalance
        self._take(amount)
        return NanoUsd(amount)

    async def grow(self, more: NanoUsd) -> bool:
        if more > self.left:
            return False
        self._take(more)
        return True

    async def settle(self, bill: Bill, use: Use, tokens: int = 0) -> NanoUsd:
        charged = min(total(bill), self.held)
        self.ended.append(("settled", charged, use, tokens))
        return NanoUsd(charged)

    def settle_soon(self, bill: Bill, use: Use, tokens: int = 0) -> None:
        self.ended.append(("left", total(bill), use, tokens))

    def void(self) -> None:
        self.ended.append(("void", 0, None, 0))

    def _take(self, amount: int) -> None:
        self.left -= amount
        self.held += amount
        self.holds.append(amount)


def plan(limit: int | None = None, *, newer: bool = False) -> Plan:
    body = EngineRequest(messages=[])
    if limit is not None and newer:
        body.max_completion_tokens = limit
    elif limit is not None:
        body.max_tokens = limit
    return Plan(body, None, None)


def spending(till: Till, model: Model = CHEAP) -> Spending:
    return Spending(till, model, Hand())


# Holds.


async def test_a_limit_is_held_whole_with_the_prompt() -> None:
    till, made = Till(), plan(100)
    await (spent := spending(till)).hold(made, 10, 1, stepwise=False)
    assert till.holds == [10 * 50 + 100 * 150]
    assert (made.completion_limit, spent.limited, spent.growth) == (100, False, None)


async def test_each_choice_is_held() -> None:
    till = Till()
    await spending(till).hold(plan(100), 10, 3, stepwise=False)
    assert till.holds == [10 * 50 + 300 * 150]


@pytest.mark.parametrize("newer", [False, True])
async def test_a_limit_is_lowered_to_what_the_money_left_pays(*, newer: bool) -> None:
    till, made = Till(10 * 50 + 7 * 150 + 149), plan(100, newer=newer)
    await (spent := spending(till)).hold(made, 10, 1, stepwise=False)
    assert (made.completion_limit, spent.limited) == (7, True)


async def test_of_several_choices_each_is_lowered_alike() -> None:
    till, made = Till(10 * 50 + 7 * 150), plan(100)
    await spending(till).hold(made, 10, 3, stepwise=False)
    assert made.completion_limit == 2


@pytest.mark.parametrize(("left", "choices"), [(10 * 50 + 149, 1), (10 * 50 + 2 * 150, 3), (0, 1), (499, 1)])
async def test_without_the_money_for_a_token_of_each_choice_nothing_is_held(left: int, choices: int) -> None:
    till, made = Till(left), plan(100)
    with pytest.raises(InsufficientBalance):
        await spending(till).hold(made, 10, choices, stepwise=False)
    assert till.holds == []


async def test_without_a_limit_a_step_is_held_and_the_hold_grows() -> None:
    till, made = Till(), plan()
    await (spent := spending(till)).hold(made, 10, 1, stepwise=True)
    assert till.holds == [10 * 50 + STEP * 150]
    assert made.completion_limit == CHEAP.max_completion_tokens == 8192
    assert spent.growth is not None


async def test_what_cannot_be_watched_is_held_whole() -> None:
    till, made = Till(), plan()
    await (spent := spending(till)).hold(made, 10, 1, stepwise=False)
    assert till.holds == [10 * 50 + 8192 * 150]
    assert (made.completion_limit, spent.growth) == (8192, None)


async def test_an_answer_shorter_than_a_step_needs_no_other() -> None:
    till, made = Till(), plan(STEP)
    await (spent := spending(till)).hold(made, 10, 1, stepwise=True)
    assert (till.holds, spent.growth) == ([10 * 50 + STEP * 150], None)


# Growth.


def growth(till: Till, choices: int = 1, most: int = 8192) -> Growth:
    return Growth(till, CHEAP, choices, STEP, most)


async def test_a_hold_grows_before_what_is_paid_is_said() -> None:
    till = Till()
    grows = growth(till)
    for _ in range(STEP - 256):
        assert await grows.covers(1)
    assert till.holds == []
    assert await grows.covers(1)
    assert till.holds == [STEP * 150 + 1]


async def test_a_burst_of_several_steps_is_held_at_once() -> None:
    till = Till()
    grows = growth(till)
    assert await grows.covers(3 * STEP)
    assert len(till.holds) == 3, "to the most there can be, and no more"
    assert sum(till.holds) == 3 * (STEP * 150 + 1)
    assert await grows.covers(10**6)
    assert len(till.holds) == 3


async def test_the_last_step_is_only_as_long_as_the_answer_can_be() -> None:
    till = Till()
    grows = growth(till, most=STEP + 10)
    assert await grows.covers(STEP)
    assert till.holds == [10 * 150 + 1]


async def test_where_it_cannot_grow_what_is_paid_is_said_to_its_end() -> None:
    till = Till(STEP * 150)  # one nano-dollar short of a step
    grows = growth(till)
    assert await grows.covers(STEP - 1)
    assert grows.over == 0
    assert not await grows.covers(1)
    assert grows.over == 0
    assert not await grows.covers(30)
    assert (grows.over, till.holds) == (30, [])


@given(
    st.integers(1, 4),
    st.integers(0, 60 * STEP * 150),
    st.lists(st.integers(1, 3000), max_size=40),
)
async def test_no_more_is_said_than_is_held(choices: int, left: int, bursts: list[int]) -> None:
    till = Till(left)
    grows = Growth(till, CHEAP, choices, STEP, 50_000)
    said = 0
    for burst in bursts:
        said += burst
        if not await grows.covers(burst):
            said -= grows.over
            break
    assert chat_ceiling(CHEAP, 0, said) <= chat_ceiling(CHEAP, 0, choices * STEP) + till.held
    assert till.held <= left


# What is owed.


async def test_a_settled_answer_is_told_its_cost_in_the_currency_it_was_paid_in() -> None:
    usage = Usage(prompt_tokens=10, completion_tokens=20, total_tokens=30)
    for currency, told in (("USD", {"usd": 0.0000035, "diem": 0}), ("DIEM", {"usd": 0, "diem": 0.0000035})):
        till = Till(currency=currency)
        spent = spending(till)
        await spent.hold(plan(100), 10, 1, stepwise=False)
        cost = await spent.settle(usage)
        assert msgspec.json.decode(msgspec.json.encode(cost)) == told
        assert till.ended == [("settled", 3500, Use(10, 20, 0), 30)]


async def test_cached_tokens_are_owed_at_their_own_price() -> None:
    till = Till()
    usage = Usage(prompt_tokens=1000, completion_tokens=1, total_tokens=1001)
    usage.prompt_tokens_details = PromptTokensDetails(cached_tokens=900)
    spent = spending(till, CACHED)
    spent.leave(usage)
    assert till.ended == [("left", 100 * 400 + 900 * 200 + 1000, Use(1000, 1, 0), 1001)]


async def test_an_answer_ends_once() -> None:
    usage = Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2)
    settled, left, void = Till(), Till(), Till()
    spent = spending(settled)
    await spent.settle(usage)
    spent.leave(usage)
    spent.void()
    assert [how for how, *_ in settled.ended] == ["settled"]
    spent = spending(left)
    spent.leave(usage)
    spent.void()
    spent.leave(usage)
    assert [how for how, *_ in left.ended] == ["left"]
    spent = spending(void)
    spent.void()
    spent.leave(usage)
    spent.void()
    assert [how for how, *_ in void.ended] == ["void"]


async def test_a_cut_by_the_engines_limit_is_said_to_be_the_moneys() -> None:
    reader = SpendLimit()
    for finish, stop in (("length", "spend_limit"), ("stop", None), ("tool_calls", None), (None, None)):
        choice = EngineChoice(finish_reason=finish)
        reader.rewrite(choice)
        assert choice.stop_reason == stop


# Reckonings.


@pytest.mark.parametrize(
    ("text", "limit", "tokens"),
    [("", None, 1024), ("a" * 32, None, 1034), ("a" * 33, 5, 16), ("é" * 32, 2000, 1034), ("a", 0, 1)],
)
def test_a_reservation_is_the_characters_and_what_may_be_said(
    text: str, limit: int | None, tokens: int
) -> None:
    messages: list[Any] = [UserMessage(content=text)]
    assert reservation(messages, unusual(messages), limit) == tokens


def test_a_reservation_counts_the_text_of_parts() -> None:
    parts = [{"type": "text", "text": "a" * 16}, {"type": "text", "text": "b" * 16}]
    messages: list[Any] = [
        UserMessage(content="x" * 32),
        msgspec.convert({"role": "user", "content": parts}, UserMessage),
    ]
    assert reservation(messages, unusual(messages), 0) == 20


def test_a_prompt_that_nobody_counted_is_reckoned_by_its_characters() -> None:
    turns = [{"role": "system", "content": "a" * 16}, {"role": "user", "content": "é" * 16}]
    turns += [{"role": "assistant", "content": None}]  # pyright: ignore[reportArgumentType]
    assert guessed_tokens(msgspec.json.encode({"model": "m", "messages": turns})) == 10
    assert guessed_tokens(b'{"messages":[]}') == 0
    parts = [{"type": "text", "text": "a" * 32}]
    assert guessed_tokens(msgspec.json.encode({"messages": [{"role": "user", "content": parts}]})) == 10

"""A chat's money: what is held before an engine is asked, and what is charged when it has answered."""

from __future__ import annotations

from collections.abc import Awaitable
from operator import attrgetter
from typing import Any, Protocol

import msgspec
from msgspec import Raw

from fondaco.billing.line import Bill, total
from fondaco.billing.prices.tokens import (
    TokenUse,
    chat_bill,
    chat_ceiling,
    completion_affordable,
    estimated_tokens,
)
from fondaco.billing.use import Use
from fondaco.chat.answer_wire import Cost, Usage
from fondaco.chat.plan import Plan
from fondaco.clock import Clock
from fondaco.content import Sealed
from fondaco.limits.ticket import Ticket
from fondaco.models.model import Model
from fondaco.money import NanoUsd, to_json
from fondaco.upstream.wire import EngineChoice

SPEND_LIMIT = "spend_limit"
"""The `stop_reason` of an answer that ends because the money does."""

STEP = 2048
"""Completion tokens that are held for an answer without a limit, and by which the hold grows."""

_content = attrgetter("content")

_MARGIN = 256
_MOST_RESERVED = 1024


class Metered(Protocol):
    """An admitted request's rate and money; see `fondaco.billing.meter`."""

    @property
    def walled(self) -> bool: ...
    @property
    def currency(self) -> str: ...
    async def hold(self, ceiling: NanoUsd, least: NanoUsd | None = None) -> NanoUsd: ...
    def grow(self, more: NanoUsd) -> Awaitable[bool]: ...
    def settle(self, bill: Bill, use: Use, tokens: int = 0) -> Awaitable[NanoUsd]: ...
    def settle_soon(self, bill: Bill, use: Use, tokens: int = 0) -> None: ...
    def void(self) -> None: ...


class Meter(Protocol):
    async def admit(self, ticket: Ticket, model: Model, tokens: int = 0) -> Metered: ...


class Spending:
    """What one chat costs. It ends once: settled, left by its client, or void."""

    __slots__ = (
        "_clock",
        "_metered",
        "_model",
        "_over",
        "_started",
        "ahead",
        "growth",
        "limited",
        "prompt_tokens",
        "services",
    )

    def __init__(self, metered: Metered, model: Model, clock: Clock) -> None:
        self._metered = metered
        self._model = model
        self._clock = clock
        self._started = clock.monotonic()
        self._over = False
        self.prompt_tokens: int | None = None
        """As the engine has counted them before it was asked; None where it has not."""
        self.growth: Growth | None = None
        """For an answer whose hold grows with it."""
        self.limited = False
        """Its engine was given a limit because the money left pays for no more."""
        self.services: Bill = ()
        """What was done for it beside the answer."""
        self.ahead: Bill = ()
        """What may yet be done for it: held with the answer, and not charged."""

    @property
    def walled(self) -> bool:
        return self._metered.walled

    async def hold_ahead(self) -> None:
        """Hold what may be done before the answer can be planned; the answer's own hold takes its place.

        Raises InsufficientBalance or KeySpendLimitExceeded.
        """
        if amount := total(self.ahead):
            await self._metered.hold(amount)

    async def hold(self, made: Plan, prompt: int, choices: int, *, stepwise: bool) -> None:
        """Hold what the answer may cost, and limit it to what can be paid.

        `prompt` is a bound in tokens, and `stepwise` whether the hold may grow with the answer. Raises
        InsufficientBalance or KeySpendLimitExceeded where not even one token could be paid.
        """
        model = self._model
        most = made.completion_limit or model.max_completion_tokens or STEP
        if self.prompt_tokens is not None and model.context_tokens:
            # Only where the prompt was counted: what is left beside a bound may be far too little.
            most = max(1, min(most, model.context_tokens - prompt))
        first = min(most, STEP) if stepwise else most
        services = total(self.services + self.ahead)
        ceiling = NanoUsd(services + chat_ceiling(model, prompt, choices * first))
        least = NanoUsd(services + chat_ceiling(model, prompt, choices))
        held = await self._metered.hold(ceiling, least)
        self.growth, self.limited = None, held < ceiling
        if self.limited:
            most = completion_affordable(model, prompt, NanoUsd(held - services)) // choices
        elif first < most:
            self.growth = Growth(self._metered, model, choices, first, most)
        made.cap(most)

    async def settle(self, usage: Usage) -> Cost:
        """Charge the answer, durably, and say what it cost."""
        self._over = True
        charged = await self._metered.settle(*self._owed(usage))
        amount = Raw(to_json(charged))
        return Cost(diem=amount) if self._metered.currency == "DIEM" else Cost(usd=amount)

    def leave(self, usage: Usage) -> None:
        """The client has left: what was made until then is paid, and nobody waits for it."""
        if not self._over:
            self._over = True
            self._metered.settle_soon(*self._owed(usage))

    def void(self) -> None:
        """The answer failed: it costs nothing."""
        if not self._over:
            self._over = True
            self._metered.void()

    @property
    def over(self) -> bool:
        return self._over

    def _owed(self, usage: Usage) -> tuple[Bill, Use, int]:
        details = usage.prompt_tokens_details
        cached = 0 if details is None else details.cached_tokens
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        elapsed = int(1000 * (self._clock.monotonic() - self._started))
        bill = self.services + chat_bill(self._model, TokenUse(prompt, cached, completion))
        return bill, Use(prompt, completion, elapsed), usage.total_tokens


class Growth:
    """A hold that grows as the answer does."""

    __slots__ = ("_metered", "_model", "_most", "_paid", "_said", "_stuck", "choices", "ended")

    def __init__(self, metered: Metered, model: Model, choices: int, paid: int, most: int) -> None:
        """So many completion tokens of each choice are `paid` for, of the `most` that there can be."""
        self.choices = choices
        self.ended: set[int] = set()
        """Choices whose engine has said all."""
        self._metered = metered
        self._model = model
        self._paid = choices * paid
        self._most = choices * most
        self._said = 0
        self._stuck = False

    async def covers(self, pieces: int) -> bool:
        """So many more have been said. False when all that can be paid has been."""
        self._said += pieces
        while not self._stuck and self._paid < self._most and self._paid - self._said < _MARGIN:
            step = min(STEP, self._most - self._paid)
            # Rounding up the step alone never falls short of rounding the sum.
            if await self._metered.grow(NanoUsd(chat_ceiling(self._model, 0, step) + 1)):
                self._paid += step
            else:
                self._stuck = True
        return not self._stuck or self._said < self._paid

    @property
    def over(self) -> int:
        """How many pieces more have been said than are paid for, where no more can be."""
        return max(0, self._said - self._paid) if self._stuck else 0


class SpendLimit:
    """Reader of an answer that was limited by its money: says so where it was cut."""

    def settled(self) -> bool:
        return True

    def rewrite(self, choice: EngineChoice) -> None:
        if choice.finish_reason == "length":
            choice.stop_reason = SPEND_LIMIT


def reservation(messages: list[Any], odd: list[int], limit: int | None) -> int:
    """Tokens to be reserved of a rate window: characters by the vendor's reckoning, and what will likely be said."""
    # A list counts as its length here, and below as its text.
    contents: list[Any] = list(map(_content, messages))
    size = sum([len(content) for content in contents if content])
    for at in odd:
        content: str | list[Any] | None = contents[at]
        if isinstance(content, list):
            size += sum([len(getattr(part, "text", None) or "") for part in content]) - len(content)
    return estimated_tokens(size) + (_MOST_RESERVED if limit is None or limit > _MOST_RESERVED else limit)


class _Part(Sealed):
    text: str | None = None


class _Turn(Sealed):
    content: str | list[_Part] | None = None


class _Asked(Sealed):
    messages: list[_Turn]


def guessed_tokens(asked: bytes) -> int:
    """About how many tokens a prompt has that no engine counted: one for so many characters."""
    size = 0
    for turn in msgspec.json.decode(asked, type=_Asked).messages:
        if isinstance(turn.content, str):
            size += len(turn.content)
        elif turn.content is not None:
            size += sum(len(part.text or "") for part in turn.content)
    return estimated_tokens(size)

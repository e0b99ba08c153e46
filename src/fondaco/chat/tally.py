"""What an answer used, and what that costs."""

from __future__ import annotations

from math import ceil
from typing import Any

import msgspec
from msgspec import Raw

from fondaco.chat.answer_wire import CompletionTokensDetails, Cost, PromptTokensDetails, Usage
from fondaco.chat.service import ChatAnswer
from fondaco.content import Sealed
from fondaco.models.model import TextPricing
from fondaco.money import NanoUsd, per_million, to_json
from fondaco.upstream.wire import EngineAnswer, EngineUsage

# As the vendor reckons what nobody has counted.
_CHARACTERS_PER_TOKEN = 3.2
_ZERO = Raw(b"0")


class Tally:
    """Counts what goes by, for engines that do not say what was used."""

    __slots__ = ("_answer", "_pieces", "_told")

    def __init__(self, answer: ChatAnswer) -> None:
        self._answer = answer
        self._pieces = 0
        self._told: EngineUsage | None = None

    def note(self, pieces: int) -> None:
        """So many pieces of text were made; engines send about one a token."""
        self._pieces += pieces

    def read(self, answer: EngineAnswer) -> None:
        """Count a decoded chunk's pieces, and hear what it says was used."""
        if answer.usage is not None:
            self.tell(answer.usage)
            if self._told is not None:
                return
        for choice in answer.choices:
            if choice.finish_reason is None:
                self._pieces += 1
            elif choice.delta is not None:  # nothing, or all that was to be said
                size = len(choice.delta.content or "") + len(choice.delta.thought() or "")
                self._pieces += ceil(size / _CHARACTERS_PER_TOKEN)

    def tell(self, usage: EngineUsage) -> None:
        """What the engine says. Its last word holds, save that llama.cpp counts each of several choices alone."""
        if not (usage.prompt_tokens or usage.completion_tokens):
            return
        if self._told is not None and self._answer.local:
            usage.completion_tokens += self._told.completion_tokens
        self._told = usage

    def usage(self) -> Usage:
        told = self._told
        if told is None:
            prompt = guessed_tokens(self._answer.asked.reveal())
            return Usage(
                prompt_tokens=prompt, completion_tokens=self._pieces, total_tokens=prompt + self._pieces
            )
        prompt_details = completion_details = None
        if (details := told.prompt_tokens_details) is not None:
            prompt_details = PromptTokensDetails(cached_tokens=details.cached_tokens or 0)
            if details.cache_creation_input_tokens is not None:
                prompt_details.cache_creation_input_tokens = details.cache_creation_input_tokens
        if (thought := told.completion_tokens_details) is not None and thought.reasoning_tokens is not None:
            completion_details = CompletionTokensDetails(reasoning_tokens=thought.reasoning_tokens)
        return Usage(
            prompt_tokens=told.prompt_tokens,
            completion_tokens=told.completion_tokens,
            total_tokens=told.prompt_tokens + told.completion_tokens,
            prompt_tokens_details=prompt_details,
            completion_tokens_details=completion_details,
        )

    def cost(self, usage: Usage) -> Cost:
        prices = self._answer.resolved.model.token_prices
        return Cost(usd=Raw(to_json(price(prices, usage))), diem=_ZERO)


class _Turn(Sealed):
    content: str | list[Any] | None = None


class _Asked(Sealed):
    messages: list[_Turn]


def guessed_tokens(asked: bytes) -> int:
    """About how many tokens a prompt has that no engine counted: one for so many characters."""
    turns = msgspec.json.decode(asked, type=_Asked).messages
    size = sum(len(turn.content) for turn in turns if isinstance(turn.content, str))
    return ceil(size / _CHARACTERS_PER_TOKEN)


def price(prices: TextPricing, usage: Usage) -> NanoUsd:
    """Nano-dollars for this usage: cached prompt tokens at their own price where there is one."""
    cached = 0
    if prices.cache_input is not None and usage.prompt_tokens_details is not None:
        cached = min(usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens)
    total = per_million(prices.input, usage.prompt_tokens - cached)
    total += per_million(prices.output, usage.completion_tokens)
    if cached and prices.cache_input is not None:
        total += per_million(prices.cache_input, cached)
    return NanoUsd(total)

"""Tokens: a chat's lines for input, cached input and output, and an embedding's only line."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from fondaco.billing.line import Bill, Line
from fondaco.billing.prices.facts import pricing_of
from fondaco.models.model import EmbeddingPricing, Model
from fondaco.money import NanoUsd

MILLION = 1_000_000
UNLIMITED = 2**63 - 1
"""More tokens than anybody makes: what a sum of money pays for where they cost nothing."""

# A token is reckoned at 3.2 characters where nobody has counted: five sixteenths of one a character.
_TOKENS, _CHARACTERS = 5, 16

# Engines put a few tokens of their own around each text.
_MARKS = 16


class TokenUse(msgspec.Struct, frozen=True, gc=False):
    """What one request used. `cached` are those of the prompt's tokens that an engine had read before."""

    prompt: int
    cached: int = 0
    completion: int = 0


def chat_bill(model: Model, use: TokenUse) -> Bill:
    """What a chat cost; without lines for what there was none of.

    Where the model has no price for cached tokens, they are input like the others. What engines say is not trusted
    to make sense: no count is below zero, and no more is cached than was sent.
    """
    prices = model.token_prices
    fresh_sku, cached_sku, answer_sku = _chat_skus(model.id)
    cached = 0 if prices.cache_input is None else max(0, min(use.cached, use.prompt))
    fresh = use.prompt - cached
    lines: list[Line] = []
    if fresh > 0:
        lines.append(Line(fresh_sku, fresh, prices.input, MILLION))
    if cached and prices.cache_input is not None:
        lines.append(Line(cached_sku, cached, prices.cache_input, MILLION))
    if use.completion > 0:
        lines.append(Line(answer_sku, use.completion, prices.output, MILLION))
    return tuple(lines)


def chat_ceiling(model: Model, prompt_bound: int, completion_bound: int) -> NanoUsd:
    """The most that a chat of at most so many tokens can cost, whichever part of its prompt turns out to be cached.

    `completion_bound` is for all choices together.
    """
    prices = model.token_prices
    answer = Line("", max(completion_bound, 0), prices.output, MILLION).amount
    return NanoUsd(_prompt_ceiling(model, prompt_bound) + answer)


def completion_affordable(model: Model, prompt_bound: int, money: NanoUsd) -> int:
    """The most completion tokens whose ceiling, prompt included, is within `money`; 0 where there are none."""
    left = money - _prompt_ceiling(model, prompt_bound)
    if left < 0:
        return 0
    price = model.token_prices.output
    if not price:
        return UNLIMITED
    most = (left * MILLION + MILLION // 2) // price
    # Exactly half a nano-dollar too much is rounded to the even side, which may be the wrong one.
    return most if Line("", most, price, MILLION).amount <= left else most - 1


def embedding_bill(model: Model, tokens: int) -> Bill:
    """What embedding so many tokens costs. The output price is listed by the vendor and never charged."""
    prices = pricing_of(model, EmbeddingPricing)
    return (Line(f"{model.id}-embedding-mtoken", tokens, prices.input, MILLION),) if tokens > 0 else ()


def embedding_tokens(given: str | Sequence[str | int | Sequence[int]]) -> tuple[int, int]:
    """How many tokens what is to be embedded likely has, and at most. A text has no more of them than bytes."""
    items = [given] if isinstance(given, str) else given
    likely = most = loose = 0
    for item in items:
        if isinstance(item, str):
            likely += estimated_tokens(len(item))
            most += len(item.encode()) + _MARKS
        elif isinstance(item, int):
            loose += 1
        else:
            likely += len(item)
            most += len(item) + _MARKS
    # Numbers that stand alone are one text together.
    return likely + loose, most + (loose + _MARKS if loose else 0)


def estimated_tokens(characters: int) -> int:
    """About how many tokens so much text has, as the vendor reckons: one for 3.2 characters, rounded up."""
    return -(-characters * _TOKENS // _CHARACTERS)


def _prompt_ceiling(model: Model, prompt_bound: int) -> int:
    prices = model.token_prices
    units = max(prompt_bound, 0)
    if prices.cache_input is None:
        return Line("", units, prices.input, MILLION).amount
    dearer = max(prices.input, prices.cache_input)
    whole, rest = divmod(dearer * units, MILLION)
    if prices.input % MILLION == 0 and prices.cache_input % MILLION == 0:
        return whole
    # Two lines may both be rounded up by half a nano-dollar where one would not be.
    return whole + 1 if rest or units > 1 else whole


@lru_cache(4096)
def _chat_skus(model_id: str) -> tuple[str, str, str]:
    return (
        f"{model_id}-llm-input-mtoken",
        f"{model_id}-llm-cache-input-mtoken",
        f"{model_id}-llm-output-mtoken",
    )

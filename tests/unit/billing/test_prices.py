"""Prices: which lines a bill has, how they are rounded, and what has no price."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fondaco.billing.line import Line, total
from fondaco.billing.prices.audio import longest, speech_bill, transcription_bill
from fondaco.billing.prices.free import free_of_charge, waived
from fondaco.billing.prices.images import edit_bill, image_bill, upscale_bill
from fondaco.billing.prices.services import SEARCH_IN_CHAT, service_bill
from fondaco.billing.prices.tokens import (
    UNLIMITED,
    TokenUse,
    chat_bill,
    chat_ceiling,
    completion_affordable,
    embedding_bill,
    estimated_tokens,
)
from fondaco.errors import InvalidRequest
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import MODEL_TYPES, Model, TextPricing
from fondaco.models.wire import row
from fondaco.money import NanoUsd, from_decimal

CATALOGUE = Catalogue()
GLM = CATALOGUE.of_type("text")["zai-org-glm-4.7"]
QWEN = CATALOGUE.of_type("text")["qwen3-4b"]
UPSCALER = CATALOGUE.of_type("upscale")["upscaler"]
NANO_BANANA = CATALOGUE.of_type("image")["nano-banana-pro"]

PRICES = st.integers(0, 10**13)
TOKENS = st.integers(0, 10**7)


def priced(prompt: int, answer: int, cached: int | None = None) -> Model:
    known = None if cached is None else NanoUsd(cached)
    return msgspec.structs.replace(GLM, pricing=TextPricing(NanoUsd(prompt), NanoUsd(answer), known))


# Chat.


def test_a_chat_has_a_line_for_input_for_cached_input_and_for_output() -> None:
    assert chat_bill(GLM, TokenUse(prompt=100, cached=40, completion=7)) == (
        Line("zai-org-glm-4.7-llm-input-mtoken", 60, from_decimal("0.55"), 1_000_000),
        Line("zai-org-glm-4.7-llm-cache-input-mtoken", 40, from_decimal("0.11"), 1_000_000),
        Line("zai-org-glm-4.7-llm-output-mtoken", 7, from_decimal("2.65"), 1_000_000),
    )


def test_cached_tokens_are_input_where_they_have_no_price_of_their_own() -> None:
    assert chat_bill(QWEN, TokenUse(prompt=100, cached=40, completion=7)) == (
        Line("qwen3-4b-llm-input-mtoken", 100, from_decimal("0.05"), 1_000_000),
        Line("qwen3-4b-llm-output-mtoken", 7, from_decimal("0.15"), 1_000_000),
    )


def test_what_there_was_none_of_has_no_line() -> None:
    assert [line.units for line in chat_bill(GLM, TokenUse(prompt=5, cached=5))] == [5]
    assert [line.units for line in chat_bill(GLM, TokenUse(prompt=0, completion=5))] == [5]
    assert chat_bill(GLM, TokenUse(prompt=0)) == ()


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(-100, 100))
def test_no_count_of_an_engine_makes_a_line_negative_or_more_than_was_sent(
    prompt: int, cached: int, answer: int
) -> None:
    bill = chat_bill(GLM, TokenUse(prompt, cached, answer))
    assert all(line.units > 0 for line in bill)
    assert sum(line.units for line in bill) == max(prompt, 0) + max(answer, 0)


@given(PRICES, TOKENS)
def test_each_line_is_rounded_half_even_once(price: int, tokens: int) -> None:
    exact = Fraction(price * tokens, 1_000_000)
    bill = chat_bill(priced(price, price), TokenUse(tokens, 0, tokens))
    assert [line.amount for line in bill] == ([round(exact)] * 2 if tokens else [])
    assert total(bill) == sum(line.amount for line in bill)


def test_half_a_nano_dollar_goes_to_the_even_side() -> None:
    half = priced(500_000, 0)
    assert [total(chat_bill(half, TokenUse(tokens))) for tokens in (1, 2, 3, 4, 5)] == [0, 1, 2, 2, 2]


@given(PRICES, PRICES, st.none() | PRICES, TOKENS, TOKENS, st.data())
def test_no_chat_costs_more_than_its_ceiling(
    price: int, answer_price: int, cached_price: int | None, prompt: int, answer: int, data: st.DataObject
) -> None:
    model = priced(price, answer_price, cached_price)
    ceiling = chat_ceiling(model, prompt, answer)
    used = data.draw(st.integers(0, prompt))
    use = TokenUse(used, data.draw(st.integers(0, used)), data.draw(st.integers(0, answer)))
    assert total(chat_bill(model, use)) <= ceiling


def test_two_halves_that_are_both_rounded_up_are_within_the_ceiling() -> None:
    model = priced(500_000, 0, 500_000)
    bill = chat_bill(model, TokenUse(prompt=6, cached=3))
    assert total(bill) == 4  # 1.5 and 1.5, where one line of 6 would be 3
    assert chat_ceiling(model, 6, 0) >= 4


@given(st.integers(1, 10**4), st.integers(1, 10**4), TOKENS, TOKENS)
def test_a_ceiling_is_no_higher_than_the_dearest_chat(
    price: int, answer_price: int, prompt: int, answer: int
) -> None:
    # As with all published prices, a token costs whole nano-dollars.
    model = priced(price * 10**6, answer_price * 10**6, price * 10**6)
    assert chat_ceiling(model, prompt, answer) == total(chat_bill(model, TokenUse(prompt, 0, answer)))


def test_cached_tokens_count_at_the_dearer_price() -> None:
    dear = priced(1_000_000, 0, 3_000_000)
    assert chat_ceiling(dear, 10, 0) == 30
    assert chat_ceiling(priced(3_000_000, 0, 1_000_000), 10, 0) == 30


@given(PRICES, st.integers(1, 10**13), st.none() | PRICES, TOKENS, st.integers(0, 10**15))
def test_what_money_pays_for_is_the_most_that_it_pays_for(
    price: int, answer_price: int, cached_price: int | None, prompt: int, money: int
) -> None:
    model = priced(price, answer_price, cached_price)
    most = completion_affordable(model, prompt, NanoUsd(money))
    if chat_ceiling(model, prompt, 0) > money:
        assert most == 0
    else:
        assert chat_ceiling(model, prompt, most) <= money < chat_ceiling(model, prompt, most + 1)


def test_any_money_pays_for_answers_that_cost_nothing() -> None:
    assert completion_affordable(priced(1_000_000, 0), 10, NanoUsd(10)) == UNLIMITED
    assert completion_affordable(priced(1_000_000, 0), 11, NanoUsd(10)) == 0


@pytest.mark.parametrize(
    ("characters", "tokens"), [(0, 0), (1, 1), (3, 1), (4, 2), (16, 5), (17, 6), (32, 10)]
)
def test_a_token_is_reckoned_at_3_2_characters(characters: int, tokens: int) -> None:
    assert estimated_tokens(characters) == tokens


# The rest.


def test_an_image_without_a_resolution_has_the_model_s_own() -> None:
    assert image_bill(NANO_BANANA) == image_bill(NANO_BANANA, 1, "1K") == image_bill(NANO_BANANA, 1, "1k")
    assert image_bill(NANO_BANANA, 2, "4K") == (
        Line("nano-banana-pro-4k-image-unit", 2, from_decimal("0.35"), 1),
    )


def test_a_resolution_without_a_price_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(InvalidRequest) as refused:
        image_bill(NANO_BANANA, 1, "8K")
    assert refused.value.issues[0].path == ("resolution",)
    assert "1K, 2K, 4K" in refused.value.issues[0].message


@pytest.mark.parametrize(
    ("scale", "cents"), [("1", 2), ("1.5", 2), ("2", 2), ("2.01", 8), ("3", 8), ("4", 8)]
)
def test_an_enlargement_between_two_factors_costs_the_larger(scale: str, cents: int) -> None:
    assert total(upscale_bill(UPSCALER, Decimal(scale))) == cents * 10**7


def test_an_enlargement_beyond_all_factors_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        upscale_bill(UPSCALER, Decimal("4.1"))


@pytest.mark.parametrize("model_id", ["elevenlabs/scribe-v2", "nvidia/parakeet-tdt-0.6b-v3"])
@given(milliseconds=st.integers(0, 10**10), size=st.integers(1, 10**8))
def test_a_file_s_size_bounds_what_it_costs(model_id: str, milliseconds: int, size: int) -> None:
    model = CATALOGUE.of_type("asr")[model_id]
    charged = total(transcription_bill(model, milliseconds, size))
    assert charged <= total(transcription_bill(model, longest(size)))
    if milliseconds <= longest(size):
        assert charged == total(transcription_bill(model, milliseconds))


def test_a_part_of_a_second_costs_a_part() -> None:
    scribe = CATALOGUE.of_type("asr")["elevenlabs/scribe-v2"]
    assert total(transcription_bill(scribe, 1)) == 167
    assert total(transcription_bill(scribe, 12_500)) == 2_087_500


def test_nothing_spoken_embedded_or_searched_costs_nothing() -> None:
    assert speech_bill(CATALOGUE.of_type("tts")["tts-kokoro"], 0) == ()
    assert transcription_bill(CATALOGUE.of_type("asr")["fal-ai/wizper"], 0) == ()
    assert embedding_bill(CATALOGUE.of_type("embedding")["text-embedding-bge-m3"], 0) == ()
    assert service_bill(SEARCH_IN_CHAT, 0) == ()


def test_a_price_that_is_not_known_is_an_error_and_not_zero() -> None:
    video = next(iter(CATALOGUE.of_type("video").values()))
    for price in (image_bill, edit_bill):
        with pytest.raises(InvalidRequest) as refused:
            price(video)
        assert refused.value.issues[0].path == ("model",)
    with pytest.raises(InvalidRequest):
        speech_bill(GLM, 1)
    with pytest.raises(TypeError):
        chat_bill(video, TokenUse(1))


def test_every_model_of_the_catalogue_but_for_video_has_a_price_for_what_it_does() -> None:
    bills = {
        "asr": lambda model: transcription_bill(model, 1000),
        "embedding": lambda model: embedding_bill(model, 1000),
        "image": image_bill,
        "inpaint": edit_bill,
        "text": lambda model: chat_bill(model, TokenUse(1000, 10, 1000)),
        "tts": lambda model: speech_bill(model, 1000),
        "upscale": lambda model: upscale_bill(model, Decimal(2)),
    }
    for kind in set(MODEL_TYPES) - {"video"}:
        for model in CATALOGUE.of_type(kind).values():
            bill = bills[kind](model)
            assert total(bill) > 0, model.id
            assert all(line.sku.startswith(model.id) for line in bill)


# Free of charge.


def test_a_waived_bill_has_its_lines_and_costs_nothing() -> None:
    bill = chat_bill(GLM, TokenUse(100, 40, 7))
    assert [(line.sku, line.units) for line in waived(bill)] == [(line.sku, line.units) for line in bill]
    assert total(waived(bill)) == 0


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_model_free_of_charge_says_so_wherever_it_said_a_price(kind: str) -> None:
    for model in CATALOGUE.of_type(kind).values():
        charged, free = row(model).model_spec.pricing, row(free_of_charge(model)).model_spec.pricing
        assert _paths(charged) == _paths(free)
        assert {amount for _, amount in _leaves(free)} <= {b"0"}


def test_a_chat_with_a_free_model_costs_nothing_and_any_money_pays_for_it() -> None:
    free = free_of_charge(GLM)
    assert total(chat_bill(free, TokenUse(100, 40, 7))) == chat_ceiling(free, 10**6, 10**6) == 0
    assert completion_affordable(free, 10**6, NanoUsd(0)) == UNLIMITED


def _leaves(tree: object) -> list[tuple[str, bytes]]:
    if not isinstance(tree, dict):
        usd = getattr(tree, "usd", None)
        return [] if usd is None else [("", bytes(usd))]
    return [(f"{key}.{path}", leaf) for key, inner in tree.items() for path, leaf in _leaves(inner)]


def _paths(tree: object) -> list[str]:
    return [path for path, _ in _leaves(tree)]

"""Every row of the vendor's price list (January 2026), by what a known use of it costs.

The figures stand here as the list prints them, in dollars, and are not read from our catalogue.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from fondaco.billing.line import Bill, total
from fondaco.billing.prices.audio import speech_bill, transcription_bill
from fondaco.billing.prices.images import cutout_bill, edit_bill, image_bill, upscale_bill
from fondaco.billing.prices.services import (
    AUGMENT_SCRAPE,
    AUGMENT_SEARCH,
    AUGMENT_TEXT_PARSER,
    SCRAPE_IN_CHAT,
    SEARCH_IN_CHAT,
    Service,
    service_bill,
)
from fondaco.billing.prices.tokens import TokenUse, chat_bill, embedding_bill
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model

CATALOGUE = Catalogue()

# id, input, output and cache read a million tokens.
TEXT = [
    ("qwen3-4b", "0.05", "0.15", None),
    ("openai-gpt-oss-120b", "0.07", "0.30", None),
    ("google-gemma-3-27b-it", "0.12", "0.20", None),
    ("qwen3-235b-a22b-instruct-2507", "0.15", "0.75", None),
    ("llama-3.2-3b", "0.15", "0.60", None),
    ("venice-uncensored", "0.20", "0.90", None),
    ("grok-code-fast-1", "0.25", "1.87", "0.03"),
    ("qwen3-vl-235b-a22b", "0.25", "1.50", None),
    ("qwen3-next-80b", "0.35", "1.90", None),
    ("deepseek-v3.2", "0.40", "1.00", "0.20"),
    ("minimax-m21", "0.40", "1.60", "0.04"),
    ("qwen3-235b-a22b-thinking-2507", "0.45", "3.50", None),
    ("mistral-31-24b", "0.50", "2.00", None),
    ("grok-41-fast", "0.50", "1.25", "0.13"),
    ("zai-org-glm-4.7", "0.55", "2.65", "0.11"),
    ("gemini-3-flash-preview", "0.70", "3.75", "0.07"),
    ("llama-3.3-70b", "0.70", "2.80", None),
    ("qwen3-coder-480b-a35b-instruct", "0.75", "3.00", None),
    ("kimi-k2-thinking", "0.75", "3.20", "0.38"),
    ("hermes-3-llama-3.1-405b", "1.10", "3.00", None),
    ("openai-gpt-52", "2.19", "17.50", "0.22"),
    ("openai-gpt-52-codex", "2.19", "17.50", "0.22"),
    ("gemini-3-pro-preview", "2.50", "15.00", "0.63"),
    ("claude-sonnet-45", "3.75", "18.75", "0.38"),
    ("claude-opus-45", "6.00", "30.00", "0.60"),
]

# id, resolution, dollars an image.
IMAGES = [
    ("z-image-turbo", None, "0.01"),
    ("venice-sd35", None, "0.01"),
    ("hidream", None, "0.01"),
    ("qwen-image", None, "0.01"),
    ("lustify-sdxl", None, "0.01"),
    ("lustify-v7", None, "0.01"),
    ("wai-Illustrious", None, "0.01"),
    ("bg-remover", None, "0.02"),
    ("flux-2-pro", None, "0.04"),
    ("seedream-v4", None, "0.05"),
    ("flux-2-max", None, "0.09"),
    ("nano-banana-pro", None, "0.18"),
    ("nano-banana-pro", "1K", "0.18"),
    ("nano-banana-pro", "2K", "0.24"),
    ("nano-banana-pro", "4K", "0.35"),
    ("gpt-image-1-5", None, "0.23"),
]


def model(model_id: str, kind: str) -> Model:
    return CATALOGUE.of_type(kind)[model_id]


def dollars(bill: Bill) -> Decimal:
    return Decimal(total(bill)) / 10**9


@pytest.mark.parametrize(("model_id", "asked", "answered", "cached"), TEXT)
def test_a_chat_costs_what_its_row_says(model_id: str, asked: str, answered: str, cached: str | None) -> None:
    of = model(model_id, "text")
    prices = [Decimal(asked), Decimal(answered), Decimal(cached or asked)]
    # 1,234 tokens in, of which 1,000 had been read before, and 567 out.
    exact = (234 * prices[0] + 567 * prices[1] + 1000 * prices[2]) / 10**6
    assert dollars(chat_bill(of, TokenUse(prompt=1234, cached=1000, completion=567))) == exact
    assert dollars(chat_bill(of, TokenUse(prompt=1_000_000))) == prices[0]
    assert dollars(chat_bill(of, TokenUse(prompt=0, completion=2_000_000))) == 2 * prices[1]


def test_no_text_model_of_the_list_is_left_out_here() -> None:
    assert {row[0] for row in TEXT} == set(CATALOGUE.of_type("text"))


@pytest.mark.parametrize(("model_id", "resolution", "price"), IMAGES)
def test_an_image_costs_what_its_row_says(model_id: str, resolution: str | None, price: str) -> None:
    of = model(model_id, "image")
    assert dollars(image_bill(of, 1, resolution)) == Decimal(price)
    assert dollars(image_bill(of, 3, resolution)) == 3 * Decimal(price)


def test_taking_a_background_away_costs_what_its_model_does() -> None:
    assert dollars(cutout_bill(model("bg-remover", "image"))) == Decimal("0.02")


@pytest.mark.parametrize(("scale", "price"), [("2", "0.02"), ("4", "0.08")])
def test_an_enlargement_costs_by_its_factor(scale: str, price: str) -> None:
    assert dollars(upscale_bill(model("upscaler", "upscale"), Decimal(scale))) == Decimal(price)


def test_an_edit_costs_four_cents() -> None:
    assert dollars(edit_bill(model("qwen-edit", "inpaint"))) == Decimal("0.04")


def test_speech_costs_by_the_character() -> None:
    kokoro = model("tts-kokoro", "tts")
    assert dollars(speech_bill(kokoro, 1_000_000)) == Decimal("3.50")
    assert dollars(speech_bill(kokoro, 1)) == Decimal("0.0000035")


def test_transcription_costs_by_the_second() -> None:
    parakeet = model("nvidia/parakeet-tdt-0.6b-v3", "asr")
    assert dollars(transcription_bill(parakeet, 1_000)) == Decimal("0.0001")
    assert dollars(transcription_bill(parakeet, 3_600_500)) == Decimal("0.36005")


def test_embedding_costs_its_input_alone() -> None:
    bge = model("text-embedding-bge-m3", "embedding")
    assert dollars(embedding_bill(bge, 1_000_000)) == Decimal("0.15")
    assert dollars(embedding_bill(bge, 7)) == Decimal("0.00000105")


@pytest.mark.parametrize(
    "service", [SEARCH_IN_CHAT, SCRAPE_IN_CHAT, AUGMENT_SEARCH, AUGMENT_SCRAPE, AUGMENT_TEXT_PARSER]
)
def test_a_thousand_searches_or_pages_cost_ten_dollars(service: Service) -> None:
    assert dollars(service_bill(service)) == Decimal("0.01")
    assert dollars(service_bill(service, 1000)) == Decimal(10)

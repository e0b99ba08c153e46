"""The catalogue says what the mission's tables say, typed here once more by hand."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path

import pytest

from fondaco.models.catalogue import Catalogue, CatalogueError
from fondaco.models.model import MODEL_TYPES, ImagePricing, SpeechPricing, TranscriptionPricing
from fondaco.money import NANO

# id, name, input, output, cache read, context, functions, reasoning, vision, code, beta
MISSION_TEXT = """
qwen3-4b                       | Venice Small           | 0.05 | 0.15  |      | 33K  | FR
openai-gpt-oss-120b            | OpenAI GPT OSS 120B    | 0.07 | 0.30  |      | 131K | FB
google-gemma-3-27b-it          | Google Gemma 3 27B     | 0.12 | 0.20  |      | 203K | FV
qwen3-235b-a22b-instruct-2507  | Qwen 3 235B Instruct   | 0.15 | 0.75  |      | 131K | F
llama-3.2-3b                   | Llama 3.2 3B           | 0.15 | 0.60  |      | 131K | F
venice-uncensored              | Venice Uncensored 1.1  | 0.20 | 0.90  |      | 33K  |
grok-code-fast-1               | Grok Code Fast 1       | 0.25 | 1.87  | 0.03 | 262K | FRC
qwen3-vl-235b-a22b             | Qwen3 VL 235B          | 0.25 | 1.50  |      | 262K | FV
qwen3-next-80b                 | Qwen 3 Next 80b        | 0.35 | 1.90  |      | 262K | FB
deepseek-v3.2                  | DeepSeek V3.2          | 0.40 | 1.00  | 0.20 | 164K | R
minimax-m21                    | MiniMax M2.1           | 0.40 | 1.60  | 0.04 | 203K | FRC
qwen3-235b-a22b-thinking-2507  | Qwen 3 235B Thinking   | 0.45 | 3.50  |      | 131K | FR
mistral-31-24b                 | Venice Medium          | 0.50 | 2.00  |      | 131K | FV
grok-41-fast                   | Grok 4.1 Fast          | 0.50 | 1.25  | 0.13 | 262K | FRV
zai-org-glm-4.7                | GLM 4.7                | 0.55 | 2.65  | 0.11 | 203K | FR
gemini-3-flash-preview         | Gemini 3 Flash         | 0.70 | 3.75  | 0.07 | 262K | FRV
llama-3.3-70b                  | Llama 3.3 70B          | 0.70 | 2.80  |      | 131K | F
qwen3-coder-480b-a35b-instruct | Qwen 3 Coder 480b      | 0.75 | 3.00  |      | 262K | FC
kimi-k2-thinking               | Kimi K2 Thinking       | 0.75 | 3.20  | 0.38 | 262K | FRC
hermes-3-llama-3.1-405b        | Hermes 3 405b          | 1.10 | 3.00  |      | 131K | B
openai-gpt-52                  | GPT-5.2                | 2.19 | 17.50 | 0.22 | 262K | FR
openai-gpt-52-codex            | GPT-5.2 Codex          | 2.19 | 17.50 | 0.22 | 262K | FRVCB
gemini-3-pro-preview           | Gemini 3 Pro           | 2.50 | 15.00 | 0.63 | 203K | FRV
claude-sonnet-45               | Claude Sonnet 4.5      | 3.75 | 18.75 | 0.38 | 203K | FRVCB
claude-opus-45                 | Claude Opus 4.5        | 6.00 | 30.00 | 0.60 | 203K | FRVC
"""
CONTEXTS = {"33K": 32768, "131K": 131072, "164K": 163840, "203K": 202752, "262K": 262144}
TIERS = {
    "qwen3-4b": "XS",
    "llama-3.2-3b": "XS",
    "mistral-31-24b": "S",
    "venice-uncensored": "S",
    "llama-3.3-70b": "M",
    "qwen3-next-80b": "M",
    "google-gemma-3-27b-it": "M",
}
MISSION_IMAGE = {
    "z-image-turbo": ("0.01", "private"),
    "venice-sd35": ("0.01", "private"),
    "hidream": ("0.01", "private"),
    "qwen-image": ("0.01", "private"),
    "lustify-sdxl": ("0.01", "private"),
    "lustify-v7": ("0.01", "private"),
    "wai-Illustrious": ("0.01", "private"),
    "bg-remover": ("0.02", "anonymized"),
    "flux-2-pro": ("0.04", "anonymized"),
    "seedream-v4": ("0.05", "anonymized"),
    "flux-2-max": ("0.09", "anonymized"),
    "gpt-image-1-5": ("0.23", "anonymized"),
}


def rows() -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in MISSION_TEXT.strip().splitlines()]


def nano(amount: str) -> int:
    return int(Decimal(amount) * NANO)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue()


def test_text_models_are_those_of_the_mission_and_no_others(catalogue: Catalogue) -> None:
    assert list(catalogue.of_type("text")) == [row[0] for row in rows()]
    assert len(rows()) == 25


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_text_model_has_the_missions_name_price_context_and_abilities(
    catalogue: Catalogue, row: list[str]
) -> None:
    model_id, name, asked, answered, cached, context, marks = row
    model = catalogue.of_type("text")[model_id]
    assert model.name == name
    assert model.token_prices.input == nano(asked)
    assert model.token_prices.output == nano(answered)
    assert model.token_prices.cache_input == (nano(cached) if cached else None)
    assert model.context_tokens == CONTEXTS[context]
    can = model.capabilities
    assert (can.functions, can.reasoning, can.vision, can.code, model.beta) == (
        "F" in marks,
        "R" in marks,
        "V" in marks,
        "C" in marks,
        "B" in marks,
    )
    assert model.tier == TIERS.get(model_id, "L")
    assert 0 < model.max_completion_tokens <= model.context_tokens
    assert can.web_search


def test_schemas_are_taken_by_venice_uncensored_and_not_by_the_three_that_later_lost_them(
    catalogue: Catalogue,
) -> None:
    text = catalogue.of_type("text")
    assert text["venice-uncensored"].capabilities.response_schema
    without = {model_id for model_id, model in text.items() if not model.capabilities.response_schema}
    assert without == {
        "llama-3.2-3b",
        "llama-3.3-70b",
        "openai-gpt-oss-120b",
        "hermes-3-llama-3.1-405b",
    }


def test_only_qwen3_4b_thinks_between_tags_in_its_content(catalogue: Catalogue) -> None:
    assert [each.id for each in catalogue.of_type("text").values() if each.think_tags] == ["qwen3-4b"]


@pytest.mark.parametrize(
    ("model_id", "limit"),
    [
        ("llama-3.3-70b", 4096),
        ("venice-uncensored", 8192),
        ("deepseek-v3.2", 32768),
        ("mistral-31-24b", 16384),
    ],
)
def test_largest_completions_are_the_published_ones_or_a_quarter_of_the_context(
    catalogue: Catalogue, model_id: str, limit: int
) -> None:
    assert catalogue.of_type("text")[model_id].max_completion_tokens == limit


def test_every_table_is_whole(catalogue: Catalogue) -> None:
    counts = {kind: len(catalogue.of_type(kind)) for kind in MODEL_TYPES}
    assert counts == {
        "asr": 4,
        "embedding": 9,
        "image": 28,
        "inpaint": 11,
        "text": 25,
        "tts": 9,
        "upscale": 1,
        "video": 36,
    }


@pytest.mark.parametrize("model_id", MISSION_IMAGE)
def test_an_image_model_has_the_missions_price_and_privacy(catalogue: Catalogue, model_id: str) -> None:
    price, privacy = MISSION_IMAGE[model_id]
    model = catalogue.of_type("image")[model_id]
    assert isinstance(model.pricing, ImagePricing)
    assert model.pricing.generation == nano(price)
    assert model.pricing.upscale == {"2x": nano("0.02"), "4x": nano("0.08")}
    assert model.privacy == privacy
    assert model.tier == "image"


def test_a_model_priced_by_resolution_has_no_single_price(catalogue: Catalogue) -> None:
    pricing = catalogue.of_type("image")["nano-banana-pro"].pricing
    assert isinstance(pricing, ImagePricing)
    assert pricing.generation is None
    assert pricing.resolutions == {"1K": nano("0.18"), "2K": nano("0.24"), "4K": nano("0.35")}


def test_speech_and_transcription_have_the_missions_prices(catalogue: Catalogue) -> None:
    kokoro = catalogue.of_type("tts")["tts-kokoro"]
    assert kokoro.pricing == SpeechPricing(nano("3.50"))
    assert len(kokoro.voices) == len(set(kokoro.voices)) == 54
    assert {"af_sky", "af_nova", "am_liam", "bf_emma", "zf_xiaobei", "jm_kumo"} <= set(kokoro.voices)
    parakeet = catalogue.of_type("asr")["nvidia/parakeet-tdt-0.6b-v3"]
    assert parakeet.pricing == TranscriptionPricing(nano("0.0001"))


def test_video_has_constraints_and_no_price(catalogue: Catalogue) -> None:
    wan = catalogue.of_type("video")["wan-2.6-text-to-video"]
    assert wan.pricing is None
    assert wan.constraints == {
        "model_type": "text-to-video",
        "aspect_ratios": ["16:9", "9:16", "1:1"],
        "resolutions": ["1080p", "720p"],
        "durations": ["5s", "10s", "15s"],
        "audio": True,
        "audio_configurable": True,
    }
    for model in catalogue.of_type("video").values():
        assert set(model.constraints) == set(wan.constraints)


def test_an_id_belongs_to_one_type_only(catalogue: Catalogue) -> None:
    ids = [model_id for kind in MODEL_TYPES for model_id in catalogue.of_type(kind)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_traits_and_aliases_lead_to_models_of_their_own_type(catalogue: Catalogue, kind: str) -> None:
    targets = {**catalogue.traits(kind), **catalogue.aliases(kind)}.values()
    assert set(targets) <= set(catalogue.of_type(kind))


@pytest.mark.parametrize(
    ("kind", "alias", "target"),
    [
        ("text", "gpt-4o", "zai-org-glm-4.7"),
        ("text", "gpt-4o-mini", "qwen3-4b"),
        ("text", "gpt-4-vision-preview", "mistral-31-24b"),
        ("text", "o1", "qwen3-235b-a22b-thinking-2507"),
        ("text", "o3", "qwen3-235b-a22b-thinking-2507"),
        ("text", "claude-3-5-sonnet-20241022", "claude-sonnet-45"),
        ("embedding", "text-embedding-3-small", "text-embedding-bge-m3"),
        ("image", "dall-e-3", "qwen-image"),
        ("asr", "whisper-1", "nvidia/parakeet-tdt-0.6b-v3"),
        ("tts", "tts-1", "tts-kokoro"),
    ],
)
def test_the_missions_migration_table_holds(catalogue: Catalogue, kind: str, alias: str, target: str) -> None:
    assert catalogue.aliases(kind)[alias] == target


def test_local_models_say_truly_what_they_can_and_cost_what_qwen3_4b_costs(catalogue: Catalogue) -> None:
    price = catalogue.of_type("text")["qwen3-4b"].token_prices
    for local in catalogue.local:
        if local.model.type != "text":
            continue
        can = local.model.capabilities
        assert (can.functions, can.response_schema, can.logprobs) == (True, True, True)
        assert (can.vision, can.reasoning, can.web_search) == (False, False, False)
        assert local.model.token_prices == price
        assert (local.model.tier, local.model.privacy) == ("XS", "private")
        assert local.model.max_completion_tokens == 4096
        assert local.model.quantization == "not-available"


def test_each_type_has_one_local_model_that_is_fetched_first(catalogue: Catalogue) -> None:
    first = {local.model.type: local.model.id for local in catalogue.local if local.fetched_first}
    assert first == {
        "text": "qwen2.5-coder-0.5b-instruct",
        "tts": "tts-kokoro",
        "asr": "whisper-base",
        "embedding": "all-minilm-l6-v2",
    }


def test_local_speech_transcription_and_embeddings_cost_what_the_missions_models_do(
    catalogue: Catalogue,
) -> None:
    """And they have the mission's rates (tiers audio and embedding)."""
    mission = {
        "tts": "tts-kokoro",
        "asr": "nvidia/parakeet-tdt-0.6b-v3",
        "embedding": "text-embedding-bge-m3",
    }
    others = [local.model for local in catalogue.local if local.model.type != "text"]
    for model in others:
        like = catalogue.of_type(model.type)[mission[model.type]]
        assert (model.pricing, model.tier, model.privacy) == (like.pricing, like.tier, "private")
    assert {model.type for model in others} == set(mission)


def test_the_tables_that_chat_needs_are_read_in_under_50_ms() -> None:
    def once() -> float:
        start = time.process_time()
        fresh = Catalogue()
        assert fresh.of_type("text")
        assert fresh.local
        assert fresh.traits("text")
        assert fresh.aliases("text")
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.05


ROW = """
[[model]]
id = "a"
name = "A"
description = ""
privacy = "private"
price = { input = "0.1", output = "0.2" }
"""


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (ROW + ROW, "a is there twice"),
        (ROW.replace('"0.1"', '"cheap"'), "a has no good price"),
        (ROW.replace('input = "0.1", ', ""), "a has no good price"),
        (ROW.replace('"0.1"', "0.1"), "Expected `str"),
        (ROW + 'abilities = ["flying"]', "a has abilities that are not known"),
        (ROW + 'quantization = "fp4"', "Invalid enum value"),
        (ROW + "colour = 1", "unknown field"),
        ("[[model]", "text.toml"),
    ],
)
def test_a_table_with_a_fault_is_refused_by_name(tmp_path: Path, table: str, told: str) -> None:
    (tmp_path / "text.toml").write_text(table)
    with pytest.raises(CatalogueError, match=r"^text\.toml") as refused:
        Catalogue(tmp_path).of_type("text")
    assert told in str(refused.value)

"""`/models`, `/models/traits` and `/models/compatibility_mapping` as the contract writes them (CONTRACT 9 and 19)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from fondaco.errors import InvalidRequest
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import MODEL_TYPES
from fondaco.models.registry import Registry
from fondaco.models.service import ModelsService
from fondaco.settings import Binding, ModelSettings

CATALOGUE = Catalogue()

TEXT_CAPABILITIES = {
    "optimizedForCode": bool,
    "quantization": str,
    "supportsFunctionCalling": bool,
    "supportsAudioInput": bool,
    "supportsReasoning": bool,
    "supportsReasoningEffort": bool,
    "supportsResponseSchema": bool,
    "supportsMultipleImages": bool,
    "supportsVision": bool,
    "supportsVideoInput": bool,
    "supportsWebSearch": bool,
    "supportsLogProbs": bool,
    "supportsTeeAttestation": bool,
    "supportsE2EE": bool,
    "supportsXSearch": bool,
}
ALLOWED_TYPES = ["asr", "embedding", "image", "music", "text", "tts", "upscale", "inpaint", "video"]


def everything() -> Registry:
    """A registry in which every model of the catalogue is bound."""
    far = Binding(base_url="http://127.0.0.1:9/v1")
    bind = {model_id: far for kind in MODEL_TYPES for model_id in CATALOGUE.of_type(kind)}
    return Registry(ModelSettings(bind=bind), CATALOGUE, lambda _: True, False, {"text"})


@pytest.fixture(scope="module")
def service() -> ModelsService:
    return ModelsService(everything())


def listed(service: ModelsService, kind: str | None = None) -> dict[str, dict[str, Any]]:
    answer = json.loads(service.models(kind), parse_float=Decimal)
    assert set(answer) == {"object", "type", "data"}
    assert answer["object"] == "list"
    return {row["id"]: row for row in answer["data"]}


def check_amount(amount: dict[str, Any]) -> None:
    assert set(amount) == {"usd", "diem"}
    for value in amount.values():
        assert isinstance(value, int | Decimal)
        assert not isinstance(value, bool)
        assert value >= 0
    assert amount["usd"] == amount["diem"]


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def has_no_null(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(has_no_null, value.values()))
    if isinstance(value, list):
        return all(map(has_no_null, value))
    return value is not None


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_every_row_has_what_the_schema_requires(service: ModelsService, kind: str) -> None:
    rows = listed(service, kind)
    assert len(rows) >= len(CATALOGUE.of_type(kind))
    for model_id, row in rows.items():
        assert row["object"] == "model"
        assert row["owned_by"] == "venice.ai"
        assert row["type"] == kind
        assert is_int(row["created"]), model_id
        spec = row["model_spec"]
        assert spec["privacy"] in {"private", "anonymized"}
        assert spec["offline"] is False
        assert isinstance(spec["betaModel"], bool)
        assert all(isinstance(spec[key], str) for key in ("name", "description", "modelSource"))
        assert all(isinstance(trait, str) for trait in spec["traits"])
        assert has_no_null(row), model_id


def test_text_rows_carry_every_key_that_clients_read(service: ModelsService) -> None:
    for row in listed(service, "text").values():
        spec = row["model_spec"]
        assert is_int(spec["availableContextTokens"])
        assert is_int(spec["maxCompletionTokens"])
        assert row["context_length"] == spec["availableContextTokens"]
        assert {key: type(value) for key, value in spec["capabilities"].items()} == TEXT_CAPABILITIES
        assert spec["capabilities"]["quantization"] in {"fp8", "fp16", "not-available"}
        assert 0 <= spec["constraints"]["temperature"]["default"] <= 2
        assert 0 < spec["constraints"]["top_p"]["default"] <= 1
        assert set(spec["pricing"]) - {"cache_input"} == {"input", "output"}
        for amount in spec["pricing"].values():
            check_amount(amount)


def test_prices_are_exact_numbers_in_the_very_bytes(service: ModelsService) -> None:
    text = service.models("text")
    assert b'"pricing":{"input":{"usd":2.19,"diem":2.19},"output":{"usd":17.5,"diem":17.5}' in text
    assert b'"cache_input":{"usd":0.22,"diem":0.22}' in text
    assert b'"per_audio_second":{"usd":0.000167,"diem":0.000167}' in service.models("asr")


def test_only_models_with_cached_prices_list_them(service: ModelsService) -> None:
    rows = listed(service, "text")
    assert rows["zai-org-glm-4.7"]["model_spec"]["pricing"]["cache_input"]["usd"] == Decimal("0.11")
    assert "cache_input" not in rows["qwen3-4b"]["model_spec"]["pricing"]


def test_image_rows_carry_limits_and_upscale_prices(service: ModelsService) -> None:
    for row in listed(service, "image").values():
        spec = row["model_spec"]
        limits = spec["constraints"]
        assert is_int(limits["promptCharacterLimit"])
        assert is_int(limits["widthHeightDivisor"])
        assert set(limits["steps"]) == {"default", "max"}
        assert all(map(is_int, limits["steps"].values()))
        assert isinstance(spec["supportsWebSearch"], bool)
        assert "supportsWebSearch" not in limits
        assert set(spec["pricing"]["upscale"]) == {"2x", "4x"}
        check_amount(spec["pricing"]["upscale"]["2x"])
        assert ("generation" in spec["pricing"]) != ("resolutions" in spec["pricing"])
        for amount in spec["pricing"].get("resolutions", {}).values():
            check_amount(amount)


def test_rows_of_the_other_types_carry_their_own_keys(service: ModelsService) -> None:
    for row in listed(service, "video").values():
        spec = row["model_spec"]
        assert "pricing" not in spec
        assert set(spec["constraints"]) == {
            "model_type",
            "aspect_ratios",
            "resolutions",
            "durations",
            "audio",
            "audio_configurable",
        }
    for row in listed(service, "inpaint").values():
        assert {"aspectRatios", "promptCharacterLimit", "combineImages"} <= set(
            row["model_spec"]["constraints"]
        )
        check_amount(row["model_spec"]["pricing"]["inpaint"])
    for row in listed(service, "tts").values():
        assert isinstance(row["model_spec"]["voices"], list)
        check_amount(row["model_spec"]["pricing"]["input"])
    for row in listed(service, "asr").values():
        check_amount(row["model_spec"]["pricing"]["per_audio_second"])
    for row in listed(service, "embedding").values():
        assert is_int(row["model_spec"]["embeddingDimensions"])
        assert is_int(row["model_spec"]["maxInputTokens"])
        assert set(row["model_spec"]["pricing"]) == {"input", "output"}
    assert "voices" not in listed(service, "text")["qwen3-4b"]["model_spec"]
    assert "capabilities" not in listed(service, "tts")["tts-kokoro"]["model_spec"]


def test_kokoro_lists_its_54_voices(service: ModelsService) -> None:
    assert len(listed(service, "tts")["tts-kokoro"]["model_spec"]["voices"]) == 54


def test_no_type_lists_all_and_text_alone_in_the_live_profile(service: ModelsService) -> None:
    untyped = json.loads(service.models())
    assert untyped["type"] == "all"
    assert {row["type"] for row in untyped["data"]} == set(MODEL_TYPES)
    assert service.models("all") == service.models()
    live = json.loads(ModelsService(everything(), "live").models())
    assert live["type"] == "text"
    assert {row["type"] for row in live["data"]} == {"text"}


def test_code_lists_text_models_made_for_code(service: ModelsService) -> None:
    answer = json.loads(service.models("code"))
    assert answer["type"] == "code"
    assert all(row["model_spec"]["capabilities"]["optimizedForCode"] for row in answer["data"])
    assert "qwen3-coder-480b-a35b-instruct" in {row["id"] for row in answer["data"]}
    assert "qwen3-4b" not in {row["id"] for row in answer["data"]}


def test_a_type_without_models_is_an_empty_list(service: ModelsService) -> None:
    assert json.loads(service.models("music")) == {"object": "list", "type": "music", "data": []}


@pytest.mark.parametrize("kind", ["", "TEXT", "audio", "x" * 10_000])
def test_a_type_that_is_none_is_refused_with_those_that_are(service: ModelsService, kind: str) -> None:
    for ask, extra in (
        (service.models, ["all", "code"]),
        (service.traits, []),
        (service.compatibility_mapping, []),
    ):
        with pytest.raises(InvalidRequest) as refused:
            ask(kind)
        (issue,) = refused.value.issues
        assert issue.path == ("type",)
        assert all(f"'{allowed}'" in issue.message for allowed in [*ALLOWED_TYPES, *extra])
        assert len(issue.message) < 500
    with pytest.raises(InvalidRequest):
        service.traits("all")
    with pytest.raises(InvalidRequest):
        service.compatibility_mapping("code")


def test_traits_are_the_february_map_when_everything_is_bound(service: ModelsService) -> None:
    answer = json.loads(service.traits())
    assert answer == {
        "object": "list",
        "type": "text",
        "data": {
            "default": "zai-org-glm-4.7",
            "most_intelligent": "zai-org-glm-4.7",
            "fastest": "qwen3-4b",
            "function_calling_default": "mistral-31-24b",
            "default_vision": "mistral-31-24b",
            "default_reasoning": "qwen3-235b-a22b-thinking-2507",
            "default_code": "qwen3-coder-480b-a35b-instruct",
            "most_uncensored": "venice-uncensored",
        },
    }
    assert service.traits("text") == service.traits()
    assert json.loads(service.traits("image"))["data"]["eliza-default"] == "venice-sd35"
    assert json.loads(service.traits("video"))["data"] == {}
    rows = listed(service, "text")
    assert set(rows["zai-org-glm-4.7"]["model_spec"]["traits"]) == {"default", "most_intelligent"}


def test_the_mapping_is_the_missions_when_everything_is_bound(service: ModelsService) -> None:
    answer = json.loads(service.compatibility_mapping())
    assert (answer["object"], answer["type"]) == ("list", "text")
    assert answer["data"]["gpt-4o"] == "zai-org-glm-4.7"
    assert answer["data"]["o3"] == "qwen3-235b-a22b-thinking-2507"
    assert "tts-1" not in answer["data"]
    assert json.loads(service.compatibility_mapping("tts"))["data"]["tts-1"] == "tts-kokoro"


def test_an_answer_is_made_once_and_again_after_a_refresh() -> None:
    there: set[str] = set()
    registry = Registry(ModelSettings(), CATALOGUE, there.__contains__, False, {"text"})
    service = ModelsService(registry)
    before = service.models("text")
    assert service.models("text") is before
    there.add("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    assert service.models("text") is before
    registry.refresh()
    assert json.loads(service.models("text"))["data"][0]["id"] == "qwen2.5-coder-1.5b-instruct"
    assert json.loads(service.traits())["data"]["default"] == "qwen2.5-coder-1.5b-instruct"

"""A model as `/models` shows it (CONTRACT 9.1 and 19): every key that clients read, prices as exact numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from fondaco import money
from fondaco.models.model import (
    EmbeddingPricing,
    ImagePricing,
    InpaintPricing,
    Model,
    Pricing,
    SpeechPricing,
    TextPricing,
    TranscriptionPricing,
)
from fondaco.money import NanoUsd


class Amount(msgspec.Struct, frozen=True):
    """A price in both currencies; a DIEM is worth a dollar. Raw, for no float may hold it."""

    usd: msgspec.Raw
    diem: msgspec.Raw


PriceTree: TypeAlias = Mapping[str, "Amount | PriceTree"]


class Default(msgspec.Struct, frozen=True):
    default: float


class TextCapabilities(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """All of them on every text row: clients refuse a row that lacks one."""

    optimized_for_code: bool
    quantization: str
    supports_function_calling: bool
    supports_audio_input: bool
    supports_reasoning: bool
    supports_reasoning_effort: bool
    supports_response_schema: bool
    supports_multiple_images: bool
    supports_vision: bool
    supports_video_input: bool
    supports_web_search: bool
    supports_log_probs: bool
    supports_tee_attestation: bool = False
    supports_e2ee: bool = msgspec.field(default=False, name="supportsE2EE")
    supports_x_search: bool = False


class ModelSpec(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    description: str
    model_source: str
    privacy: str
    offline: bool = False
    beta_model: bool
    traits: tuple[str, ...]
    available_context_tokens: int | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    capabilities: TextCapabilities | UnsetType = UNSET
    # Not the types they have: the document's schemas take no union of several kinds of object.
    constraints: Mapping[str, Any] | UnsetType = UNSET
    pricing: Mapping[str, Any] | UnsetType = UNSET
    voices: tuple[str, ...] | UnsetType = UNSET
    # The contract has these beside `constraints`, not in it.
    embedding_dimensions: Any = UNSET
    max_input_tokens: Any = UNSET
    supports_custom_dimensions: Any = UNSET
    supports_web_search: Any = UNSET


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["venice.ai"] = "venice.ai"
    type: str
    context_length: int | UnsetType = UNSET
    model_spec: ModelSpec


class ModelList(msgspec.Struct, frozen=True):
    type: str
    data: list[ModelRow]
    object: Literal["list"] = "list"


class NameMap(msgspec.Struct, frozen=True):
    """Traits or other vendors' names, each to a model's id."""

    type: str
    data: dict[str, str]
    object: Literal["list"] = "list"


def row(model: Model) -> ModelRow:
    """The row of one model."""
    text = model.type == "text"
    limits = dict(model.constraints)
    beside = {key: limits.pop(key, UNSET) for key in _BESIDE}
    return ModelRow(
        id=model.id,
        created=model.created,
        type=model.type,
        context_length=model.context_tokens if text else UNSET,
        model_spec=ModelSpec(
            name=model.name,
            description=model.description,
            model_source=model.source,
            privacy=model.privacy,
            beta_model=model.beta,
            traits=model.traits,
            available_context_tokens=model.context_tokens if text else UNSET,
            max_completion_tokens=model.max_completion_tokens if text else UNSET,
            capabilities=_capabilities(model) if text else UNSET,
            constraints=_text_constraints(model) if text else limits or UNSET,
            pricing=UNSET if model.pricing is None else _prices(model.pricing),
            voices=model.voices if model.type == "tts" else UNSET,
            embedding_dimensions=beside["embeddingDimensions"],
            max_input_tokens=beside["maxInputTokens"],
            supports_custom_dimensions=beside["supportsCustomDimensions"],
            supports_web_search=beside["supportsWebSearch"],
        ),
    )


_BESIDE = ("embeddingDimensions", "maxInputTokens", "supportsCustomDimensions", "supportsWebSearch")


def _capabilities(model: Model) -> TextCapabilities:
    can = model.capabilities
    return TextCapabilities(
        optimized_for_code=can.code,
        quantization=model.quantization,
        supports_function_calling=can.functions,
        supports_audio_input=can.audio_input,
        supports_reasoning=can.reasoning,
        supports_reasoning_effort=can.reasoning_effort,
        supports_response_schema=can.response_schema,
        supports_multiple_images=can.multiple_images,
        supports_vision=can.vision,
        supports_video_input=can.video_input,
        supports_web_search=can.web_search,
        supports_log_probs=can.logprobs,
    )


def _text_constraints(model: Model) -> Mapping[str, Default]:
    return {"temperature": Default(model.temperature), "top_p": Default(model.top_p)}


def _prices(pricing: Pricing) -> PriceTree:
    match pricing:
        case TextPricing(input=asked, output=answered, cache_input=cached):
            prices = {"input": _amount(asked), "output": _amount(answered)}
            return prices if cached is None else {**prices, "cache_input": _amount(cached)}
        case ImagePricing(generation=generation, resolutions=resolutions, upscale=upscale):
            if generation is None:
                return {"resolutions": _amounts(resolutions), "upscale": _amounts(upscale)}
            return {"generation": _amount(generation), "upscale": _amounts(upscale)}
        case InpaintPricing(inpaint=edit):
            return {"inpaint": _amount(edit)}
        case SpeechPricing(input=characters):
            return {"input": _amount(characters)}
        case TranscriptionPricing(per_audio_second=second):
            return {"per_audio_second": _amount(second)}
        case EmbeddingPricing(input=asked, output=answered):
            return {"input": _amount(asked), "output": _amount(answered)}


def _amount(price: NanoUsd) -> Amount:
    digits = msgspec.Raw(money.to_json(price))
    return Amount(usd=digits, diem=digits)


def _amounts(prices: Mapping[str, NanoUsd]) -> PriceTree:
    return {size: _amount(price) for size, price in prices.items()}

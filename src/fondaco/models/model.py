"""What a model is: its facts, whoever serves it. Amounts are nano-dollars, sizes are tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

import msgspec

from fondaco.money import NanoUsd

ModelType: TypeAlias = Literal["asr", "embedding", "image", "inpaint", "text", "tts", "upscale", "video"]
Privacy: TypeAlias = Literal["private", "anonymized"]
Tier: TypeAlias = Literal["XS", "S", "M", "L", "image", "audio", "embedding", "video"]
# The vendor knows more of them (fp4, int4 …), and older clients refuse all but these three.
Quantization: TypeAlias = Literal["fp8", "fp16", "not-available"]

MODEL_TYPES: tuple[ModelType, ...] = get_args(ModelType)


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a text model can do. All false for the other types."""

    functions: bool = False
    reasoning: bool = False
    reasoning_effort: bool = False
    response_schema: bool = False
    vision: bool = False
    multiple_images: bool = False
    audio_input: bool = False
    video_input: bool = False
    web_search: bool = False
    logprobs: bool = False
    code: bool = False


class TextPricing(msgspec.Struct, frozen=True, tag="text"):
    """Per million tokens. Without `cache_input`, cached prompt tokens cost what others do."""

    input: NanoUsd
    output: NanoUsd
    cache_input: NanoUsd | None = None


class ImagePricing(msgspec.Struct, frozen=True, tag="image"):
    """Per image: one price (`generation`) or one for each resolution; and per enlargement."""

    generation: NanoUsd | None
    resolutions: Mapping[str, NanoUsd]
    upscale: Mapping[str, NanoUsd]


class InpaintPricing(msgspec.Struct, frozen=True, tag="inpaint"):
    """Per edit."""

    inpaint: NanoUsd


class SpeechPricing(msgspec.Struct, frozen=True, tag="tts"):
    """Per million characters."""

    input: NanoUsd


class TranscriptionPricing(msgspec.Struct, frozen=True, tag="asr"):
    """Per second of audio."""

    per_audio_second: NanoUsd


class EmbeddingPricing(msgspec.Struct, frozen=True, tag="embedding"):
    """Per million tokens; there are no output tokens, so `output` is listed and never charged."""

    input: NanoUsd
    output: NanoUsd


Pricing: TypeAlias = (
    TextPricing | ImagePricing | InpaintPricing | SpeechPricing | TranscriptionPricing | EmbeddingPricing
)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model's facts. Those that only text models have are zero or false for the others."""

    id: str
    type: ModelType
    name: str
    description: str
    created: int
    """Unix seconds of its release."""
    privacy: Privacy
    tier: Tier
    """Which row of the rate table holds for it."""
    pricing: Pricing | None
    """None for video, whose price is quoted for each request."""
    source: str = ""
    """A public page about it; empty when none is known."""
    beta: bool = False
    traits: tuple[str, ...] = ()
    """Traits that lead to it here and now, filled in by the registry."""
    context_tokens: int = 0
    max_completion_tokens: int = 0
    capabilities: Capabilities = Capabilities()
    quantization: Quantization = "not-available"
    temperature: float = 1.0
    top_p: float = 0.95
    think_tags: bool = False
    """Its thinking stays in `content` between `<think>` and `</think>`."""
    constraints: Mapping[str, object] = {}
    """Limits of a model that is not for text, under their names on the wire."""
    voices: tuple[str, ...] = ()

    @property
    def token_prices(self) -> TextPricing:
        """Prices of a text model; TypeError for any other."""
        pricing = self.pricing
        if type(pricing) is TextPricing:  # `isinstance` on a struct costs ten times as much
            return pricing
        raise TypeError(f"a model of type {self.type} has no token prices")

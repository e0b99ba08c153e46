"""Nothing for money: a gateway that charges nobody still says and records what was used."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fondaco.billing.line import Bill
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

_NOTHING = NanoUsd(0)


def waived(bill: Bill) -> Bill:
    """The same lines at no price."""
    return tuple(msgspec.structs.replace(line, price=_NOTHING) for line in bill)


def free_of_charge(model: Model) -> Model:
    """The same model with every price that it has at zero, so that `/models` and all bills say so."""
    return msgspec.structs.replace(model, pricing=_free(model.pricing))


def _free(pricing: Pricing | None) -> Pricing | None:
    match pricing:
        case TextPricing(cache_input=cached):
            return TextPricing(_NOTHING, _NOTHING, None if cached is None else _NOTHING)
        case ImagePricing(generation=generation, resolutions=resolutions, upscale=upscale):
            once = None if generation is None else _NOTHING
            return ImagePricing(once, _each(resolutions), _each(upscale))
        case InpaintPricing():
            return InpaintPricing(_NOTHING)
        case SpeechPricing():
            return SpeechPricing(_NOTHING)
        case TranscriptionPricing():
            return TranscriptionPricing(_NOTHING)
        case EmbeddingPricing():
            return EmbeddingPricing(_NOTHING, _NOTHING)
        case None:
            return None


def _each(prices: Mapping[str, NanoUsd]) -> Mapping[str, NanoUsd]:
    return dict.fromkeys(prices, _NOTHING)

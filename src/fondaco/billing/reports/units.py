"""What a line's units are: their kind, how many, and which part of a model's work they stand for."""

from __future__ import annotations

from fondaco.models.model import Model, ModelType
from fondaco.money import NANO

_KINDS = {
    "mtoken": "tokens",
    "mcharacter": "chars",
    "second": "seconds",
    "unit": "images",
    "request": "requests",
}
_PARTS = {
    "llm-input": "Input",
    "llm-output": "Output",
    "llm-cache-input": "Cache Read",
    "llm-cache-write": "Cache Write",
}
_MODEL_UNITS: dict[ModelType, str] = {
    "asr": "seconds",
    "embedding": "tokens",
    "image": "images",
    "inpaint": "images",
    "text": "tokens",
    "tts": "chars",
    "upscale": "images",
    "video": "seconds",
}
_MODEL_TYPES: dict[ModelType, str] = {
    "asr": "ASR",
    "embedding": "EMBEDDING",
    "image": "IMAGE",
    "inpaint": "IMAGE",
    "text": "LLM",
    "tts": "TTS",
    "upscale": "IMAGE",
    "video": "VIDEO",
}


def kind_of(sku: str) -> str:
    """What the units of a SKU count: `…-llm-input-mtoken` are tokens. `requests` where its name does not tell."""
    return _KINDS.get(sku.rpartition("-")[2], "requests")


def part_of(sku: str, model_id: str) -> str:
    """Which part of a model's work: `Input`, `Output`, `Cache Read`, or the SKU's own words."""
    words = sku.removeprefix(f"{model_id}-")
    bare, _, last = words.rpartition("-")
    if last in _KINDS:
        words = bare or words
    return _PARTS.get(words) or words.replace("-", " ").title()


def type_of(model: Model | None) -> str | None:
    """The vendor's name for a model's type; None for a model that is not known here (any more)."""
    return None if model is None else _MODEL_TYPES[model.type]


def unit_of(model: Model | None, skus: list[str]) -> str:
    """What a model's use is counted in; for one that is not known, what the first of its SKUs counts."""
    return kind_of(skus[0]) if model is None else _MODEL_UNITS[model.type]


def published(units: int, per: int) -> int:
    """`units` in units of the published price, in billionths: 412 tokens of a price per million are 412_000."""
    whole, rest = divmod(units * NANO, per)
    twice = 2 * rest
    return whole + (twice > per or (twice == per and whole % 2 == 1))


def counted(units: int, per: int, sku: str) -> int:
    """`units` as people count them, in billionths: single tokens and characters, whole seconds."""
    return units * NANO if kind_of(sku) in ("tokens", "chars") else published(units, per)

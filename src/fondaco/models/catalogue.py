"""The tables in `catalogue/*.toml` as models. Each file is read when first asked for: chat needs few of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TypeAlias, TypeVar

import msgspec

from fondaco.engines.kinds import EngineKind
from fondaco.models.model import (
    MODEL_TYPES,
    Capabilities,
    EmbeddingPricing,
    ImagePricing,
    InpaintPricing,
    Model,
    ModelType,
    Pricing,
    Privacy,
    Quantization,
    SpeechPricing,
    TextPricing,
    Tier,
    TranscriptionPricing,
)
from fondaco.money import NanoUsd, from_decimal

CREATED_UNKNOWN = 1_769_644_800
"""2026-01-29, the day of the contract these tables describe, where a model's own date is not known."""

TIERS: Mapping[ModelType, Tier] = {
    "asr": "audio",
    "embedding": "embedding",
    "image": "image",
    "inpaint": "image",
    "text": "L",
    "tts": "audio",
    "upscale": "image",
    "video": "video",
}


_Prices: TypeAlias = dict[str, "str | dict[str, str]"]
_Shape = TypeVar("_Shape")


class CatalogueError(ValueError):
    """A table is not well made; names the file and, where it can, the model."""


class LocalModel(msgspec.Struct, frozen=True):
    """A model that runs on this machine, and the weight it needs."""

    model: Model
    weight: str
    """Name of its main file in the weight store."""
    preference: int
    """Of those of a type whose weights are there, the highest is the default and stands in for others."""
    fetched_first: bool
    """The one that is fetched when no weight is there."""
    engine: EngineKind = "text"
    parts: tuple[tuple[str, str], ...] = ()
    """Further files by what they are to the engine."""
    options: tuple[tuple[str, str], ...] = ()

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.weight, *(name for _, name in self.parts))


class Catalogue:
    """All models that are known by name, with the names that lead to them."""

    def __init__(self, folder: Traversable | None = None) -> None:
        """`folder` holds the tables; None takes those of this package."""
        self._folder = folder or resources.files("fondaco.models").joinpath("catalogue")
        self._models: dict[str, Mapping[str, Model]] = {}
        self._local: tuple[LocalModel, ...] | None = None
        self._traits: Mapping[str, Mapping[str, str]] | None = None
        self._aliases: Mapping[str, Mapping[str, str]] | None = None

    def of_type(self, kind: str) -> Mapping[str, Model]:
        """Models of one type by id, in the table's order; empty for a type without a table."""
        models = self._models.get(kind)
        if models is None:
            models = self._models[kind] = self._read_models(kind)
        return models

    def find(self, model_id: str) -> Model | None:
        """The model with exactly this id, of any type. Local models are not among them."""
        for kind in ("text", *MODEL_TYPES):
            if found := self.of_type(kind).get(model_id):
                return found
        return None

    @property
    def local(self) -> tuple[LocalModel, ...]:
        """Models that run here, the preferred of each type first."""
        if self._local is None:
            self._local = self._read_local()
        return self._local

    def traits(self, kind: str) -> Mapping[str, str]:
        """Trait to model id."""
        if self._traits is None:
            self._traits = self._read_names("traits.toml")
        return self._traits.get(kind, {})

    def aliases(self, kind: str) -> Mapping[str, str]:
        """Other vendors' names to model id."""
        if self._aliases is None:
            self._aliases = self._read_names("compatibility.toml")
        return self._aliases.get(kind, {})

    def _read_models(self, kind: str) -> Mapping[str, Model]:
        for known in MODEL_TYPES:
            if known == kind:
                file = f"{known}.toml"
                rows = self._read(file, _Table).model
                return _by_id(file, [_model(file, known, row) for row in rows])
        return {}

    def _read_local(self) -> tuple[LocalModel, ...]:
        file = "local.toml"
        table = self._read(file, _LocalTable)
        models = dict(_by_id(file, [_model(file, row.type, row) for row in table.model]))
        for known in table.known:
            models[known.id] = self.of_type(known.type)[known.id]
        return tuple(
            LocalModel(
                models[row.id],
                row.weight,
                row.preference,
                row.fetched_first,
                row.engine,
                tuple(row.parts.items()),
                tuple(row.options.items()),
            )
            for row in sorted((*table.model, *table.known), key=lambda row: -row.preference)
        )

    def _read_names(self, file: str) -> Mapping[str, Mapping[str, str]]:
        return self._read(file, dict[str, dict[str, str]])

    def _read(self, file: str, shape: type[_Shape]) -> _Shape:
        text = self._folder.joinpath(file).read_text("utf-8")
        try:
            return msgspec.convert(tomllib.loads(text), shape)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
            raise CatalogueError(f"{file}: {fault}") from fault


class _Row(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    id: str
    name: str
    description: str
    privacy: Privacy
    price: _Prices = {}
    created: int = CREATED_UNKNOWN
    source: str = ""
    tier: Tier | None = None
    beta: bool = False
    context: int = 0
    max_completion: int = 0
    abilities: tuple[str, ...] = ()
    quantization: Quantization = "not-available"
    think_tags: bool = False
    temperature: float = 1.0
    top_p: float = 0.95
    voices: tuple[str, ...] = ()
    constraints: dict[str, object] = {}


class _LocalRow(_Row, kw_only=True):
    weight: str
    preference: int
    fetched_first: bool = False
    type: ModelType = "text"
    engine: EngineKind = "text"
    parts: dict[str, str] = {}
    options: dict[str, str] = {}


class _KnownRow(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A model of the catalogue that runs here itself: its facts are the catalogue's."""

    id: str
    type: ModelType
    engine: EngineKind
    weight: str
    parts: dict[str, str] = {}
    options: dict[str, str] = {}
    preference: int
    fetched_first: bool = False


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    model: list[_Row]


class _LocalTable(msgspec.Struct, forbid_unknown_fields=True):
    model: list[_LocalRow]
    known: list[_KnownRow] = []


def _by_id(file: str, models: list[Model]) -> Mapping[str, Model]:
    by_id: dict[str, Model] = {}
    for model in models:
        if model.id in by_id:
            raise CatalogueError(f"{file}: {model.id} is there twice")
        by_id[model.id] = model
    return by_id


def _model(file: str, kind: ModelType, row: _Row) -> Model:
    unknown = set(row.abilities) - set(Capabilities.__struct_fields__)
    if unknown:
        raise CatalogueError(f"{file}: {row.id} has abilities that are not known: {sorted(unknown)}")
    try:
        pricing = _pricing(kind, row.price)
    except (KeyError, TypeError, ArithmeticError) as fault:
        raise CatalogueError(f"{file}: {row.id} has no good price: {fault!r}") from fault
    return Model(
        id=row.id,
        type=kind,
        name=row.name,
        description=row.description,
        created=row.created,
        privacy=row.privacy,
        tier=row.tier or TIERS[kind],
        pricing=pricing,
        source=row.source,
        beta=row.beta,
        context_tokens=row.context,
        max_completion_tokens=row.max_completion,
        capabilities=Capabilities(**dict.fromkeys(row.abilities, True)),
        quantization=row.quantization,
        temperature=row.temperature,
        top_p=row.top_p,
        think_tags=row.think_tags,
        constraints=row.constraints,
        voices=row.voices,
    )


def _pricing(kind: ModelType, prices: _Prices) -> Pricing | None:
    """KeyError, TypeError or ArithmeticError if a price is missing or is not one."""
    match kind:
        case "text":
            cached = _usd(prices["cache_input"]) if "cache_input" in prices else None
            return TextPricing(_usd(prices["input"]), _usd(prices["output"]), cached)
        case "image" | "upscale":
            generation = None if "resolutions" in prices else _usd(prices["generation"])
            return ImagePricing(generation, _each(prices.get("resolutions", {})), _each(prices["upscale"]))
        case "inpaint":
            return InpaintPricing(_usd(prices["inpaint"]))
        case "tts":
            return SpeechPricing(_usd(prices["input"]))
        case "asr":
            return TranscriptionPricing(_usd(prices["per_audio_second"]))
        case "embedding":
            return EmbeddingPricing(_usd(prices["input"]), _usd(prices["output"]))
        case "video":
            return None


def _usd(price: str | dict[str, str]) -> NanoUsd:
    if isinstance(price, dict):
        raise TypeError("one price is wanted, not several")
    return from_decimal(price)


def _each(prices: str | dict[str, str]) -> Mapping[str, NanoUsd]:
    if isinstance(prices, str):
        raise TypeError("several prices are wanted, not one")
    return {size: from_decimal(price) for size, price in prices.items()}

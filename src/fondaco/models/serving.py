"""A model together with who answers for it: an engine on this machine, or a bound server.

Facts come from the catalogue where it knows the id, then from the settings, which win. Privacy is never the
catalogue's to say: it is the way of serving that keeps or breaks it.
"""

from __future__ import annotations

from typing import TypeAlias, final

import msgspec

from fondaco.engines.kinds import EngineKind
from fondaco.models.catalogue import CREATED_UNKNOWN, TIERS, Catalogue, LocalModel
from fondaco.models.model import (
    Capabilities,
    EmbeddingPricing,
    Model,
    ModelType,
    Pricing,
    SpeechPricing,
    TextPricing,
    TranscriptionPricing,
)
from fondaco.money import NanoUsd, from_decimal
from fondaco.settings import Binding, EmbeddingModel, GgufModel, ModelFacts, TranscriptionModel

CONTEXT_UNKNOWN = 8192
"""Context of a bound model of which nobody said how much it has."""
LOCAL_MAX_COMPLETION = 4096
"""So that a small model that loops comes to an end."""
LOCAL_PRICING = TextPricing(from_decimal("0.05"), from_decimal("0.15"))
"""Models of this machine cost what `qwen3-4b` does."""


class OwnFile(msgspec.Struct, frozen=True):
    """A file of the user's: a path, or a name on a model hub that begins with `hf:`."""

    path: str
    sha256: str | None = None


File: TypeAlias = str | OwnFile
"""A name in the weight store, or the user's own file."""


@final
class LocalServing(msgspec.Struct, frozen=True):
    """An engine of this machine."""

    weight: File
    """Its main file."""
    parts: tuple[tuple[str, File], ...] = ()
    """Its further files, by what they are to the engine."""
    engine: EngineKind = "text"
    options: tuple[tuple[str, str], ...] = ()

    @property
    def own(self) -> bool:
        """The model is the user's, not one of those that come with the catalogue."""
        return type(self.weight) is OwnFile

    @property
    def files(self) -> tuple[File, ...]:
        return (self.weight, *(file for _, file in self.parts))


@final
class RemoteServing(msgspec.Struct, frozen=True):
    """Another OpenAI-speaking server."""

    binding: Binding


Serving: TypeAlias = LocalServing | RemoteServing


class Served(msgspec.Struct, frozen=True):
    """A model that can be asked, and where."""

    model: Model
    serving: Serving


class FactsError(ValueError):
    """What the settings say of a model cannot be."""


def serve_local(local: LocalModel) -> Served:
    return Served(local.model, LocalServing(local.weight, local.parts, local.engine, local.options))


def serve_bound(model_id: str, binding: Binding, catalogue: Catalogue) -> Served:
    """A bound model; one that the catalogue does not know is for text, free of charge, with tools and schemas.

    Raises FactsError for a bad price, or a type that is not what the catalogue knows it as.
    """
    known = catalogue.find(model_id)
    if known is not None and binding.type not in (None, known.type):
        raise FactsError(f"{model_id} is a model of type {known.type}, not {binding.type}")
    base = known or _unknown(model_id, binding.type or "text")
    base = msgspec.structs.replace(base, privacy=binding.privacy)
    return Served(_with_facts(base, binding), RemoteServing(binding))


def _unknown(model_id: str, kind: ModelType) -> Model:
    """A bound model of which nothing is known but its type: it is free, and has the smallest rates there are."""
    free = NanoUsd(0)
    text = kind == "text"
    pricing: dict[ModelType, Pricing] = {
        "text": TextPricing(free, free),
        "tts": SpeechPricing(free),
        "asr": TranscriptionPricing(free),
        "embedding": EmbeddingPricing(free, free),
    }
    return Model(
        id=model_id,
        type=kind,
        name=model_id,
        description="",
        created=CREATED_UNKNOWN,
        privacy="anonymized",
        tier=TIERS[kind],
        pricing=pricing[kind],
        context_tokens=CONTEXT_UNKNOWN if text else 0,
        capabilities=Capabilities(functions=text, response_schema=text),
    )


def serve_gguf(model_id: str, gguf: GgufModel, catalogue: Catalogue, context_tokens: int) -> Served:
    """A file of the user's. `context_tokens` is what engines here are given, for want of the file's own figure.

    Raises FactsError for a bad price, or when the catalogue knows the id as something else than a text model.
    """
    known = catalogue.find(model_id)
    if known is not None and known.type != "text":
        raise FactsError(f"{model_id} is a model of type {known.type}; a GGUF file serves text")
    abilities = known.capabilities if known else Capabilities()
    base = Model(
        id=model_id,
        type="text",
        name=known.name if known else model_id,
        description=known.description if known else "",
        created=known.created if known else CREATED_UNKNOWN,
        source=known.source if known else "",
        privacy="private",
        tier="XS",
        pricing=LOCAL_PRICING,
        context_tokens=known.context_tokens if known else context_tokens,
        max_completion_tokens=LOCAL_MAX_COMPLETION,
        # Tools and schemas hold for any model here, because decoding is constrained.
        capabilities=Capabilities(
            functions=True,
            response_schema=True,
            logprobs=True,
            vision=gguf.mmproj is not None,
            multiple_images=gguf.mmproj is not None,
            reasoning=abilities.reasoning,
            code=abilities.code,
        ),
        think_tags=known.think_tags if known else False,
        temperature=known.temperature if known else 1.0,
        top_p=known.top_p if known else 0.95,
    )
    model = _with_facts(base, gguf)
    if gguf.mmproj is None:
        blind = msgspec.structs.replace(model.capabilities, vision=False, multiple_images=False)
        model = msgspec.structs.replace(model, capabilities=blind)
    parts = (("mmproj", OwnFile(gguf.mmproj, gguf.mmproj_sha256)),) if gguf.mmproj else ()
    return Served(model, LocalServing(OwnFile(gguf.path, gguf.sha256), parts))


def serve_transcription(model_id: str, own: TranscriptionModel, catalogue: Catalogue) -> Served:
    """A transcription model of the user's. Raises FactsError as `serve_gguf` does."""
    base = _own_base(model_id, "asr", own.name, catalogue)
    if own.second_usd is not None:
        base = msgspec.structs.replace(base, pricing=TranscriptionPricing(_price(own.second_usd)))
    folder = own.path.rstrip("/")
    parts = tuple((name, OwnFile(f"{folder}/{name}")) for name in own.files)
    return Served(
        base, LocalServing(OwnFile(f"{folder}/{own.main}"), parts, "transcription", (("main", own.main),))
    )


def serve_embedding(model_id: str, own: EmbeddingModel, catalogue: Catalogue) -> Served:
    """An embedding model of the user's. Raises FactsError as `serve_gguf` does."""
    base = _own_base(model_id, "embedding", own.name, catalogue)
    if own.input_usd is not None:
        price = _price(own.input_usd)
        base = msgspec.structs.replace(base, pricing=EmbeddingPricing(price, price))
    facts: dict[str, object] = {"embeddingDimensions": own.dimensions, "maxInputTokens": own.max_tokens}
    if own.custom_dimensions:
        facts["supportsCustomDimensions"] = True
    # The graph asks for its data by the files' own names.
    data = ((f"data:{path.rsplit('/', 1)[-1]}", OwnFile(path)) for path in own.data)
    parts = (("tokenizer", OwnFile(own.tokenizer)), *data)
    options = {
        "pooling": own.pooling,
        "window_tokens": str(own.max_tokens),
        "max_tokens": str(own.max_tokens),
        "custom_dimensions": "yes" if own.custom_dimensions else "no",
        "prefix": own.prefix,
    }
    serving = LocalServing(OwnFile(own.path, own.sha256), parts, "embeddings", tuple(options.items()))
    return Served(msgspec.structs.replace(base, constraints=facts), serving)


def _own_base(model_id: str, kind: ModelType, name: str | None, catalogue: Catalogue) -> Model:
    known = catalogue.find(model_id)
    if known is not None and known.type != kind:
        raise FactsError(f"{model_id} is a model of type {known.type}, not {kind}")
    if known is None:
        like = next(local.model for local in catalogue.local if local.model.type == kind)
        known = msgspec.structs.replace(
            like,
            id=model_id,
            name=model_id,
            description="",
            created=CREATED_UNKNOWN,
            source="",
            constraints={},
        )
    return msgspec.structs.replace(known, name=name or known.name, privacy="private")


def completion_limit(context_tokens: int) -> int:
    """A largest completion where none is published: a quarter of the context, from 4096 to 16384, if it fits."""
    return min(max(context_tokens // 4, 4096), 16384, context_tokens)


def with_web_search(served: Served, here: bool) -> Served:
    """The same model; searching the web is the gateway's own doing, so text models all have it or none has."""
    if served.model.type != "text":
        return served
    capabilities = msgspec.structs.replace(served.model.capabilities, web_search=here)
    return Served(msgspec.structs.replace(served.model, capabilities=capabilities), served.serving)


def with_context(served: Served, context_tokens: int) -> Served:
    """The same model where it has only so much context."""
    model = msgspec.structs.replace(
        served.model,
        context_tokens=context_tokens,
        max_completion_tokens=min(served.model.max_completion_tokens, context_tokens),
    )
    return Served(model, served.serving)


def _with_facts(base: Model, facts: ModelFacts) -> Model:
    if base.type != "text":
        return _with_other_facts(base, facts)
    context = facts.context_tokens or base.context_tokens
    completion = facts.max_completion_tokens or base.max_completion_tokens or completion_limit(context)
    prices = base.token_prices
    return msgspec.structs.replace(
        base,
        name=facts.name or base.name,
        tier=facts.tier or base.tier,
        context_tokens=context,
        max_completion_tokens=min(completion, context),
        capabilities=_with_abilities(base.capabilities, facts),
        think_tags=base.think_tags if facts.think_tags is None else facts.think_tags,
        pricing=TextPricing(
            prices.input if facts.input_usd is None else _price(facts.input_usd),
            prices.output if facts.output_usd is None else _price(facts.output_usd),
            prices.cache_input if facts.cache_input_usd is None else _price(facts.cache_input_usd),
        ),
    )


def _with_other_facts(base: Model, facts: ModelFacts) -> Model:
    """A model that is not for text, with what its binding says of it."""
    base = msgspec.structs.replace(base, name=facts.name or base.name)
    if not isinstance(facts, Binding):
        return base
    if facts.voices:
        base = msgspec.structs.replace(base, voices=facts.voices)
    if facts.dimensions is not None:
        constraints = {**base.constraints, "embeddingDimensions": facts.dimensions}
        base = msgspec.structs.replace(base, constraints=constraints)
    match base.pricing:
        case SpeechPricing() if facts.input_usd is not None:
            return msgspec.structs.replace(base, pricing=SpeechPricing(_price(facts.input_usd)))
        case EmbeddingPricing() if facts.input_usd is not None:
            price = _price(facts.input_usd)
            return msgspec.structs.replace(base, pricing=EmbeddingPricing(price, price))
        case TranscriptionPricing() if facts.second_usd is not None:
            return msgspec.structs.replace(base, pricing=TranscriptionPricing(_price(facts.second_usd)))
        case _:
            return base


def _with_abilities(base: Capabilities, facts: ModelFacts) -> Capabilities:
    said = {
        "functions": facts.functions,
        "reasoning": facts.reasoning,
        "response_schema": facts.response_schema,
        "vision": facts.vision,
        "multiple_images": facts.multiple_images,
        "logprobs": facts.logprobs,
    }
    return msgspec.structs.replace(base, **{key: value for key, value in said.items() if value is not None})


def _price(text: str) -> NanoUsd:
    try:
        price = from_decimal(text)
    except (ArithmeticError, ValueError):
        price = NanoUsd(-1)
    if price < 0:
        raise FactsError(f'{text!r} is not a price in dollars, such as "0.15"')
    return price

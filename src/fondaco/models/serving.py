"""A model together with who answers for it: an engine on this machine, or a bound server.

Facts come from the catalogue where it knows the id, then from the settings, which win. Privacy is never the
catalogue's to say: it is the way of serving that keeps or breaks it.
"""

from __future__ import annotations

from typing import TypeAlias, final

import msgspec

from fondaco.models.catalogue import CREATED_UNKNOWN, Catalogue, LocalModel
from fondaco.models.model import Capabilities, Model, TextPricing
from fondaco.money import NanoUsd, from_decimal
from fondaco.settings import Binding, GgufModel, ModelFacts

CONTEXT_UNKNOWN = 8192
"""Context of a bound model of which nobody said how much it has."""
LOCAL_MAX_COMPLETION = 4096
"""So that a small model that loops comes to an end."""
LOCAL_PRICING = TextPricing(from_decimal("0.05"), from_decimal("0.15"))
"""Models of this machine cost what `qwen3-4b` does."""


@final
class LocalServing(msgspec.Struct, frozen=True):
    """An engine of this machine."""

    weight: str | GgufModel
    """A name in the weight store, or the user's own file."""


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
    return Served(local.model, LocalServing(local.weight))


def serve_bound(model_id: str, binding: Binding, catalogue: Catalogue) -> Served:
    """A bound model; one that the catalogue does not know is for text, free of charge, with tools and schemas.

    Raises FactsError for a bad price.
    """
    known = catalogue.find(model_id)
    base = known or Model(
        id=model_id,
        type="text",
        name=model_id,
        description="",
        created=CREATED_UNKNOWN,
        privacy=binding.privacy,
        tier="L",
        pricing=TextPricing(NanoUsd(0), NanoUsd(0)),
        context_tokens=CONTEXT_UNKNOWN,
        capabilities=Capabilities(functions=True, response_schema=True),
    )
    base = msgspec.structs.replace(base, privacy=binding.privacy)
    return Served(_with_facts(base, binding), RemoteServing(binding))


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
    return Served(model, LocalServing(gguf))


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
        return msgspec.structs.replace(base, name=facts.name or base.name)
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

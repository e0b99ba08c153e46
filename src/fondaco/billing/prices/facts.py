"""A model's prices of one kind, or a refusal that says they are not known."""

from __future__ import annotations

from typing import TypeVar

from fondaco.errors import InvalidRequest
from fondaco.models.model import Model, Pricing

PricingT = TypeVar("PricingT", bound=Pricing)


def pricing_of(model: Model, kind: type[PricingT]) -> PricingT:
    """Raises InvalidRequest at `model` where it has no prices of this kind: nothing is given away by accident."""
    if type(model.pricing) is kind:
        return model.pricing
    raise unknown_price("model", f"No price is known for what '{model.id}' would do here")


def unknown_price(field: str, message: str) -> InvalidRequest:
    """The request names something that has no price, so it is not begun."""
    return InvalidRequest.at(field, message=message)

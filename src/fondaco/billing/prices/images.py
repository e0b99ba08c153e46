"""Images: made, edited, enlarged, cut out. All at fixed prices, so that the ceiling is the charge."""

from __future__ import annotations

from decimal import Decimal

from fondaco.billing.line import Bill, Line
from fondaco.billing.prices.facts import pricing_of, unknown_price
from fondaco.models.model import ImagePricing, InpaintPricing, Model
from fondaco.money import NanoUsd


def image_bill(model: Model, variants: int = 1, resolution: str | None = None) -> Bill:
    """What `variants` images cost. Without a resolution, the model's default one.

    Raises InvalidRequest at `resolution` for one that has no price, where the model is priced by resolution.
    """
    prices = pricing_of(model, ImagePricing)
    if prices.generation is not None:
        return _each(f"{model.id}-image-unit", variants, prices.generation)
    asked = resolution or str(model.constraints.get("defaultResolution", ""))
    for size, price in prices.resolutions.items():
        if size.lower() == asked.lower():
            return _each(f"{model.id}-{size.lower()}-image-unit", variants, price)
    listed = ", ".join(prices.resolutions)
    raise unknown_price("resolution", f"'{model.id}' has prices for these resolutions alone: {listed}")


def cutout_bill(model: Model) -> Bill:
    """What taking an image's background away costs."""
    return image_bill(model)


def edit_bill(model: Model) -> Bill:
    """What one edit costs, of however many images it is made."""
    return _each(f"{model.id}-image-edit-unit", 1, pricing_of(model, InpaintPricing).inpaint)


def upscale_bill(model: Model, scale: Decimal) -> Bill:
    """What an enlargement costs: the price of the smallest published factor that is not below `scale`.

    Raises InvalidRequest at `scale` for one beyond them all.
    """
    prices = pricing_of(model, ImagePricing).upscale
    for factor, price in sorted((Decimal(named.rstrip("x")), price) for named, price in prices.items()):
        if scale <= factor:
            return _each(f"{model.id}-image-upscale-{factor}x-unit", 1, price)
    raise unknown_price("scale", f"'{model.id}' has prices for these enlargements alone: {', '.join(prices)}")


def _each(sku: str, units: int, price: NanoUsd) -> Bill:
    return (Line(sku, units, price, 1),) if units > 0 else ()

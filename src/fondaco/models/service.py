"""The answers of `GET /models`, `/models/traits` and `/models/compatibility_mapping`, as JSON bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from fondaco.errors import InvalidRequest, ModelNotFound
from fondaco.models import wire
from fondaco.models.policy import ModelPrivacy, allows
from fondaco.models.registry import Registry

# `music` is a type of the contract though no model of the catalogue has it: its list is empty, not refused.
TYPES = ("asr", "embedding", "image", "music", "text", "tts", "upscale", "inpaint", "video")
LIST_TYPES = (*TYPES, "all", "code")


class ModelsService:
    """Shows what the registry holds, to a key with a policy only what it may ask.

    Answers are made once for each refresh of the registry and each policy.
    """

    def __init__(self, registry: Registry, profile: Literal["seed", "live"] = "seed") -> None:
        """Asked for no type, `seed` lists all models and `live` those for text (CONTRACT 16, row 15)."""
        self._registry = registry
        self._untyped = "text" if profile == "live" else "all"
        self._encoder = msgspec.json.Encoder()
        self._made: dict[tuple[str, str, ModelPrivacy], bytes] = {}
        self._version = registry.version

    def models(self, kind: str | None = None, policy: ModelPrivacy = "ALL") -> bytes:
        """Every model that can be asked. Raises InvalidRequest for a type that is not one."""
        asked = _checked(kind, LIST_TYPES) or self._untyped
        found = self._kept("models", asked, policy)
        return found or self._keep("models", asked, policy, self._list(asked, policy))

    def model(self, model_id: str, policy: ModelPrivacy = "ALL") -> bytes:
        """One listed model's row. Raises ModelNotFound for an id that is not listed."""
        for served in self._registry.listed():
            if served.model.id == model_id and allows(policy, served.model):
                return self._encoder.encode(wire.row(served.model))
        raise ModelNotFound(f"Specified model not found: {model_id[:200]}")

    def traits(self, kind: str | None = None, policy: ModelPrivacy = "ALL") -> bytes:
        """Traits of a type's models, each to an id. Raises InvalidRequest for a type that is not one."""
        asked = _checked(kind, TYPES) or "text"
        found = self._kept("traits", asked, policy)
        return found or self._keep(
            "traits", asked, policy, self._names(asked, policy, self._registry.traits(asked))
        )

    def compatibility_mapping(self, kind: str | None = None, policy: ModelPrivacy = "ALL") -> bytes:
        """Other vendors' names, each to an id. Raises InvalidRequest for a type that is not one."""
        asked = _checked(kind, TYPES) or "text"
        found = self._kept("mapping", asked, policy)
        return found or self._keep(
            "mapping", asked, policy, self._names(asked, policy, self._registry.mapping(asked))
        )

    def _list(self, asked: str, policy: ModelPrivacy) -> wire.ModelList:
        kind = {"all": None, "code": "text"}.get(asked, asked)
        models = [served.model for served in self._registry.listed(kind) if allows(policy, served.model)]
        if asked == "code":
            models = [model for model in models if model.capabilities.code]
        return wire.ModelList(asked, [wire.row(model) for model in models])

    def _names(self, asked: str, policy: ModelPrivacy, names: dict[str, str]) -> wire.NameMap:
        if policy != "ALL":
            shown = {served.model.id for served in self._registry.listed() if allows(policy, served.model)}
            names = {name: model_id for name, model_id in names.items() if model_id in shown}
        return wire.NameMap(asked, names)

    def _kept(self, what: str, asked: str, policy: ModelPrivacy) -> bytes | None:
        if self._version != self._registry.version:
            self._made.clear()
            self._version = self._registry.version
        return self._made.get((what, asked, policy))

    def _keep(
        self, what: str, asked: str, policy: ModelPrivacy, answer: wire.ModelList | wire.NameMap
    ) -> bytes:
        made = self._made[what, asked, policy] = self._encoder.encode(answer)
        return made


def _checked(kind: str | None, allowed: tuple[str, ...]) -> str | None:
    if kind is None or kind in allowed:
        return kind
    choices = " | ".join(f"'{each}'" for each in allowed)
    raise InvalidRequest.at(
        "type", code="invalid_enum_value", message=f"Invalid enum value. Expected {choices}"
    )

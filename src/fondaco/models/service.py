"""The answers of `GET /models`, `/models/traits` and `/models/compatibility_mapping`, as JSON bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from fondaco.errors import InvalidRequest, ModelNotFound
from fondaco.models import wire
from fondaco.models.registry import Registry

# `music` is a type of the contract though no model of the catalogue has it: its list is empty, not refused.
TYPES = ("asr", "embedding", "image", "music", "text", "tts", "upscale", "inpaint", "video")
LIST_TYPES = (*TYPES, "all", "code")


class ModelsService:
    """Shows what the registry holds. Answers are made once for each refresh of the registry."""

    def __init__(self, registry: Registry, profile: Literal["seed", "live"] = "seed") -> None:
        """Asked for no type, `seed` lists all models and `live` those for text (CONTRACT 16, row 15)."""
        self._registry = registry
        self._untyped = "text" if profile == "live" else "all"
        self._encoder = msgspec.json.Encoder()
        self._made: dict[tuple[str, str], bytes] = {}
        self._version = registry.version

    def models(self, kind: str | None = None) -> bytes:
        """Every model that can be asked. Raises InvalidRequest for a type that is not one."""
        asked = _checked(kind, LIST_TYPES) or self._untyped
        return self._kept("models", asked) or self._keep("models", asked, self._list(asked))

    def model(self, model_id: str) -> bytes:
        """One listed model's row. Raises ModelNotFound for an id that is not listed."""
        for served in self._registry.listed():
            if served.model.id == model_id:
                return self._encoder.encode(wire.row(served.model))
        raise ModelNotFound(f"Specified model not found: {model_id[:200]}")

    def traits(self, kind: str | None = None) -> bytes:
        """Traits of a type's models, each to an id. Raises InvalidRequest for a type that is not one."""
        asked = _checked(kind, TYPES) or "text"
        found = self._kept("traits", asked)
        return found or self._keep("traits", asked, wire.NameMap(asked, self._registry.traits(asked)))

    def compatibility_mapping(self, kind: str | None = None) -> bytes:
        """Other vendors' names, each to an id. Raises InvalidRequest for a type that is not one."""
        asked = _checked(kind, TYPES) or "text"
        found = self._kept("mapping", asked)
        return found or self._keep("mapping", asked, wire.NameMap(asked, self._registry.mapping(asked)))

    def _list(self, asked: str) -> wire.ModelList:
        kind = {"all": None, "code": "text"}.get(asked, asked)
        models = [served.model for served in self._registry.listed(kind)]
        if asked == "code":
            models = [model for model in models if model.capabilities.code]
        return wire.ModelList(asked, [wire.row(model) for model in models])

    def _kept(self, what: str, asked: str) -> bytes | None:
        if self._version != self._registry.version:
            self._made.clear()
            self._version = self._registry.version
        return self._made.get((what, asked))

    def _keep(self, what: str, asked: str, answer: wire.ModelList | wire.NameMap) -> bytes:
        made = self._made[what, asked] = self._encoder.encode(answer)
        return made


def _checked(kind: str | None, allowed: tuple[str, ...]) -> str | None:
    if kind is None or kind in allowed:
        return kind
    choices = " | ".join(f"'{each}'" for each in allowed)
    raise InvalidRequest.at(
        "type", code="invalid_enum_value", message=f"Invalid enum value. Expected {choices}"
    )

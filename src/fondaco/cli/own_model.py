"""`--model`: an id of a known model, or a GGUF file that becomes one."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from fondaco.errors import FondacoError

if TYPE_CHECKING:
    from fondaco.settings import Settings


class NoSuchModel(FondacoError):
    """`--model` names a file that is not there."""


def with_default_model(settings: Settings, model: str | None) -> Settings:
    """The settings with `model` as the default; a file's id is its name without the ending, in lower case."""
    from fondaco.settings import GgufModel

    if model is None:
        return settings
    models = settings.models
    if not (model.startswith("hf:") or model.endswith(".gguf")):
        return settings.model_copy(update={"models": models.model_copy(update={"default": model})})
    if not model.startswith("hf:") and not Path(model).is_file():
        raise NoSuchModel(f"--model: there is no file {model}")
    name = id_of(PurePath(model).stem)
    gguf = {**models.gguf, name: models.gguf.get(name) or GgufModel(path=model)}
    return settings.model_copy(update={"models": models.model_copy(update={"default": name, "gguf": gguf})})


def id_of(name: str) -> str:
    """The model's id that a file's or folder's name makes."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower())

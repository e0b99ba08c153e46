"""Each setting told to its owner: its value, where it came from, what it means, and what is wrong with it.

A secret is a field with `repr=False`; its value is never part of what is told.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, SettingsError

from fondaco.settings import Settings, config_file

MASK = "********"

Key = tuple[str, ...]
Flags = Mapping[str, Mapping[str, object]]


class Origin(msgspec.Struct, frozen=True):
    """`where` is the file's path, the variable's name or the flag's setting; empty for a default."""

    kind: Literal["default", "file", "env", "flag"]
    where: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.where}".rstrip()


class Row(msgspec.Struct, frozen=True):
    """One setting as it may be shown."""

    key: str
    value: object
    """JSON-like; of a secret only a mask."""
    origin: Origin
    doc: str


class Origins:
    """Which of file, environment and flags gave a setting. Built from the same sources as `settings.load`."""

    def __init__(self, config: Path | None = None, flags: Flags | None = None) -> None:
        """Raises what `load` raises for a file or a variable that cannot be read."""
        self._flags: Flags = {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in (flags or {}).items()
        }
        self._env = cast("dict[str, object]", EnvSettingsSource(Settings)())
        self._file = config_file(config)
        self._toml: dict[str, object] = {}
        if self._file is not None:
            self._toml = tomllib.loads(self._file.read_text("utf-8"))

    def of(self, key: Key) -> Origin:
        if _has(self._flags, key):
            return Origin("flag", "--" + key[-1].replace("_", "-"))
        if key == ("keys", "admin_key") and os.environ.get("FONDACO_ADMIN_KEY"):
            return Origin("env", "FONDACO_ADMIN_KEY")
        if _has(self._env, key):
            return Origin("env", _variable(key))
        if _has(self._toml, key):
            return Origin("file", str(self._file))
        return Origin("default")


def rows(settings: Settings, origins: Origins) -> Iterator[Row]:
    """Every setting in the tree's order. Of models that the user bound, only what was given."""
    yield from _rows(settings, (), origins)


def explain(error: Exception, config: Path | None = None) -> tuple[str, ...]:
    """One line a fault for what `settings.load(config)` raised; empty for any other exception.

    A line names section.key, what was given unless it may be a secret, and what is allowed.
    """
    if isinstance(error, ValidationError) and error.title == "Settings":
        return tuple(_fault(fault) for fault in cast("list[dict[str, Any]]", error.errors(include_url=False)))
    if isinstance(error, SettingsError):
        # Its own text names the field and the source; the cause, which quotes the value, is left out.
        return (f"{error}: the value is not the JSON that this setting needs",)
    if isinstance(error, tomllib.TOMLDecodeError):
        return (f"{config or 'the configuration file'} is not valid TOML: {error}",)
    if isinstance(error, FileNotFoundError) and error.args and isinstance(error.args[0], Path):
        return (f"there is no configuration file {error.args[0]}",)
    return ()


def dotted(key: Key) -> str:
    """`models.bind."qwen2.5".base_url`: the key as TOML writes it."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part, re.ASCII) else f'"{part}"' for part in key)


def _rows(model: BaseModel, at: Key, origins: Origins, *, only_given: bool = False) -> Iterator[Row]:
    for name, field in type(model).model_fields.items():
        if only_given and name not in model.model_fields_set:
            continue
        key: Key = (*at, name)
        value: object = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, key, origins)
        elif isinstance(value, dict) and (entries := _models(cast("dict[str, object]", value))):
            for entry, inner in entries.items():
                yield from _rows(inner, (*key, entry), origins, only_given=True)
        else:
            shown = _shown(cast("object", value), secret=not field.repr)
            yield Row(dotted(key), shown, origins.of(key), field.description or "")


def _models(value: dict[str, object]) -> dict[str, BaseModel]:
    return {name: inner for name, inner in value.items() if isinstance(inner, BaseModel)}


def _shown(value: object, *, secret: bool) -> object:
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, object]", value)
        return {name: _shown(inner, secret=secret) for name, inner in entries.items()}
    if value is None:
        return None
    if secret:
        return MASK
    if isinstance(value, tuple):
        return [_shown(inner, secret=False) for inner in cast("tuple[object, ...]", value)]
    if isinstance(value, bool | int | float):
        return value
    return _without_credentials(str(value))


def _without_credentials(text: str) -> str:
    """A URL without its user, password and query."""
    if "://" not in text:
        return text
    return re.sub(r"\?.*", f"?{MASK}", re.sub(r"(?<=://)[^/@\s]+@", f"{MASK}@", text))


def _has(tree: object, key: Key) -> bool:
    if not key:
        return True
    table = cast("Mapping[str, object]", tree if isinstance(tree, Mapping) else {})
    return key[0] in table and _has(table[key[0]], key[1:])


def _variable(key: Key) -> str:
    """The variable that gave `key`: its own, or one that holds a whole section as JSON."""
    present = {name.upper(): name for name in os.environ}
    for depth in range(len(key), 0, -1):
        if name := present.get("FONDACO_" + "__".join(key[:depth]).upper()):
            return name
    return "FONDACO_" + "__".join(key).upper()


def _fault(fault: dict[str, Any]) -> str:
    key = tuple(str(part) for part in cast("tuple[int | str, ...]", fault["loc"]))
    said = str(fault["msg"])
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key[-1], _names(key[:-1]), n=1)
        hint = f"; did you mean {dotted((*key[:-1], near[0]))}?" if near else ""
        return f"{dotted(key)}: there is no such setting{hint}"
    given: object = fault.get("input")
    echoed = ""
    if isinstance(given, bool | int | float | str) and not _secret(key):
        echoed = f" = {json.dumps(_without_credentials(given) if isinstance(given, str) else given)[:80]}"
    return f"{dotted(key)}{echoed}: {said[:1].lower()}{said[1:]}"


def _names(at: Key) -> list[str]:
    model = _model_at(at)
    return list(model.model_fields) if model is not None else []


def _secret(key: Key) -> bool:
    """True too for a place that the tree does not know."""
    for depth in range(len(key), 0, -1):
        model = _model_at(key[: depth - 1])
        if model is not None:
            field = model.model_fields.get(key[depth - 1])
            return field is None or not field.repr
    return True


def _model_at(key: Key) -> type[BaseModel] | None:
    model: type[BaseModel] = Settings
    parts = list(key)
    while parts:
        field = model.model_fields.get(parts.pop(0))
        inner, is_table = _inner(field)
        if inner is None or (is_table and not parts):
            return None
        if is_table:
            parts.pop(0)  # the entry's own name
        model = inner
    return model


def _inner(field: FieldInfo | None) -> tuple[type[BaseModel] | None, bool]:
    """The model that a field holds, and whether it holds a table of them."""
    kind: object = field.annotation if field is not None else None
    values = cast("tuple[object, ...]", getattr(kind, "__args__", ()))
    if len(values) == 2 and isinstance(values[1], type) and issubclass(values[1], BaseModel):
        return values[1], True
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, False
    return None, False

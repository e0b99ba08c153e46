"""Feature suffixes: `<model>:<key>=<value>&…` sets `venice_parameters` through the model's name (CONTRACT 3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from fondaco.errors import InvalidRequest

_BOOLEANS = frozenset({"true", "false"})

_ALLOWED: Mapping[str, frozenset[str] | None] = {
    "character_slug": None,
    "disable_thinking": _BOOLEANS,
    "enable_web_citations": _BOOLEANS,
    "enable_web_scraping": _BOOLEANS,
    "enable_web_search": frozenset({"on", "off", "auto"}),
    "include_search_results_in_stream": _BOOLEANS,
    "include_venice_system_prompt": _BOOLEANS,
    "return_search_results_as_documents": _BOOLEANS,
    "strip_thinking_response": _BOOLEANS,
}
"""Keys that count, each with the values it may have; None for any."""

NONE: Mapping[str, str] = {}

_LONGEST = 2048


def split(name: str) -> tuple[str, str]:
    """The model's name and the suffix's text, at the first colon; empty text without one."""
    base, _, suffix = name.partition(":")
    return base, suffix


def parse(suffix: str) -> Mapping[str, str]:
    """Known keys with their decoded values; booleans are exactly `true` or `false`, the last of a key holds.

    Raises InvalidRequest at `model` for a value that its key cannot have, or a suffix beyond all measure.
    """
    if not suffix:
        return NONE
    if len(suffix) > _LONGEST:
        raise InvalidRequest.at("model", message=f"The model suffix is longer than {_LONGEST} characters")
    values: dict[str, str] = {}
    for pair in suffix.split("&"):
        key, _, encoded = pair.partition("=")
        if key not in _ALLOWED:
            continue
        value = unquote(encoded)
        allowed = _ALLOWED[key]
        if allowed is not None and value not in allowed:
            choices = ", ".join(sorted(allowed))
            raise InvalidRequest.at("model", message=f"The model suffix '{key}' must be one of: {choices}")
        values[key] = value
    return values

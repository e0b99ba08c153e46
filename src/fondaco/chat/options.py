"""What `venice_parameters` and the model's suffix come to together."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fondaco.chat.wire import VeniceParameters, WebSearch
from fondaco.errors import InvalidRequest, Issue, PathPart

_NOT_BUILT = "is not available on this server yet: leave it out or turn it off"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The effective values, as the answer echoes them."""

    enable_web_search: WebSearch = "off"
    enable_web_citations: bool = False
    enable_web_scraping: bool = False
    include_venice_system_prompt: bool = True
    include_search_results_in_stream: bool = False
    return_search_results_as_documents: bool = False
    strip_thinking_response: bool = False
    disable_thinking: bool = False
    character_slug: str | None = None


_KEYS = tuple(field.name for field in msgspec.structs.fields(Options))
_DEFAULT = Options()


def effective(parameters: VeniceParameters | None, suffix: Mapping[str, str]) -> Options:
    """The suffix overrides the body. Raises InvalidRequest, naming each field that asks for what is not built."""
    if parameters is None and not suffix:
        return _DEFAULT
    said: dict[str, object] = {}
    where: dict[str, tuple[PathPart, ...]] = {}
    for key in _KEYS:
        if (value := getattr(parameters, key, None)) is not None:
            said[key] = value
            where[key] = ("venice_parameters", key)
    for key, text in suffix.items():
        said[key] = {"true": True, "false": False}.get(text, text) if key != "character_slug" else text
        where[key] = ("model",)
    options = msgspec.convert(said, Options)
    refused = [
        key
        for key, asked in (
            ("enable_web_search", options.enable_web_search != "off"),
            ("enable_web_scraping", options.enable_web_scraping),
            ("character_slug", options.character_slug is not None),
        )
        if asked
    ]
    if refused:
        raise InvalidRequest([Issue("custom", where[key], f"{key} {_NOT_BUILT}") for key in refused])
    return options

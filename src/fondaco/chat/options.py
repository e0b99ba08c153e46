"""What `venice_parameters` and the model's suffix come to together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from operator import attrgetter

import msgspec

from fondaco.chat.wire import VeniceParameters, WebSearch
from fondaco.content import Sealed


class Options(Sealed, frozen=True, kw_only=True):  # pyright: ignore[reportGeneralTypeIssues]
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
_values = attrgetter(*_KEYS)
_DEFAULT = Options()


def effective(
    parameters: VeniceParameters | None, suffix: Mapping[str, str], *, search_tool: bool = False
) -> Options:
    """The suffix overrides the body. `search_tool`: the vendor's tool `web_search` is offered, which is `auto`."""
    options = _DEFAULT if parameters is None else _joined(_values(parameters))
    if search_tool and (parameters is None or parameters.enable_web_search is None):
        options = msgspec.structs.replace(options, enable_web_search="auto")
    if suffix:
        said = {key: _BOOLEANS.get(text, text) for key, text in suffix.items() if key != "character_slug"}
        if "character_slug" in suffix:
            said["character_slug"] = suffix["character_slug"]
        options = msgspec.structs.replace(options, **said)
    return options


_BOOLEANS = {"true": True, "false": False}


@lru_cache(256)
def _joined(values: tuple[object, ...]) -> Options:
    return Options(**{key: value for key, value in zip(_KEYS, values, strict=True) if value is not None})  # pyright: ignore[reportArgumentType]

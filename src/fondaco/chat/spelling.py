"""Other spellings of a chat request's top-level fields, tried only once the strict reading has failed.

Clients of the Responses API and of older SDKs send `input`, `max_output_tokens`, `web_search` or `promptCacheKey`;
those that compute with floats send `100.0` where 100 is meant.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from fondaco.errors import InvalidRequest, ModelNotText

Fields = dict[str, Raw]

_RENAMED: Final = {"max_output_tokens": "max_tokens", "promptCacheKey": "prompt_cache_key"}
_WHOLE: Final = ("max_completion_tokens", "max_tokens", "n", "seed", "top_k", "top_logprobs")
_whole_float = re.compile(rb"(-?\d{1,18})\.0{1,18}")


def respelled(fields: Fields) -> Fields | None:
    """The fields under the names that ChatRequest knows, or None if there is nothing to respell.

    Raises ModelNotText, because no other fault is looked at before that one.
    """
    model = fields.get("model")
    if model is None:
        raise ModelNotText(message="model is required")
    if not _text(model).startswith(b'"'):
        raise ModelNotText(message="model must be a string")
    changed = dict(fields)
    for other, name in _RENAMED.items():
        if other in changed:
            _put(changed, name, changed.pop(other))
    if "input" in changed:
        _put(changed, "messages", _as_messages(changed.pop("input")))
    if "web_search" in changed:
        _put_web_search(changed)
    for name in _WHOLE:
        if name in changed and (match := _whole_float.fullmatch(_text(changed[name]))):
            changed[name] = Raw(match.group(1))
    return None if changed == fields else changed


def _text(raw: Raw) -> bytes:
    return bytes(raw).strip()


def _absent(fields: Fields, name: str) -> bool:
    return name not in fields or _text(fields[name]) == b"null"


def _put(fields: Fields, name: str, value: Raw) -> None:
    """Gives `name` that value unless it has one of its own."""
    if _absent(fields, name):
        fields[name] = value


def _as_messages(asked: Raw) -> Raw:
    """A bare string is what the user says."""
    if not _text(asked).startswith(b'"'):
        return asked
    return Raw(msgspec.json.encode([{"role": "user", "content": asked}]))


def _put_web_search(fields: Fields) -> None:
    switch = _text(fields.pop("web_search"))
    if switch == b"null":
        return
    if switch not in (b"true", b"false"):
        raise InvalidRequest.at("web_search", message="Expected boolean", code="invalid_type")
    if _absent(fields, "venice_parameters"):
        fields["venice_parameters"] = Raw(b"{}")
    if not _text(fields["venice_parameters"]).startswith(b"{"):
        return
    extras = msgspec.json.decode(fields["venice_parameters"], type=Fields)
    _put(extras, "enable_web_search", Raw(b'"on"' if switch == b"true" else b'"off"'))
    fields["venice_parameters"] = Raw(msgspec.json.encode(extras))

"""What engines mean where they do not quite say it: bytes that are almost the wire's JSON, and words for known faults.

All of this is off the hot path: it is tried only on what a strict reading has refused.
"""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

# How servers say that a prompt is too long: llama.cpp, OpenAI and its imitators, vLLM, SGLang.
_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|maximum context length|context size|longer than the model|"
    r"max_model_len|too many tokens|too large to process",
    re.IGNORECASE,
)

# One escape a match, so that an escaped backslash is not taken for the beginning of one; a pair of surrogates is one.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def says_too_long(words: str) -> bool:
    """Whether an engine's error says that the prompt does not fit its context."""
    return _TOO_LONG.search(words) is not None


def mended(data: bytes) -> bytes:
    """The JSON with halves of characters replaced and null members left out.

    Engines that cut text at tokens send parts of a character, as bytes or as half a pair of escaped surrogates.
    Raises DecodeError or RecursionError for what is not JSON even so.
    """
    text = data.decode("utf-8", "replace").encode()
    text = _ESCAPE.sub(lambda found: rb"\ufffd" if found["half"] else found[0], text)
    return msgspec.json.encode(_without_nulls(msgspec.json.decode(text)))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {key: _without_nulls(inner) for key, inner in members.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in cast("list[Any]", value)]
    return value

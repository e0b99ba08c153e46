"""The two readings of a body never disagree: one refuses exactly what the other finds fault with."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fondaco.chat.wire import ChatRequest
from fondaco.errors import InvalidRequest, MalformedJson
from fondaco.http.issues import MAX_ISSUES, find_issues
from fondaco.http.validation import decode, error_details

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["auto", "on", "user", "text", "json_schema", "function", "low", "24h", "a||b"])
)
keys = st.sampled_from(
    [
        *(field.encode_name for field in msgspec.structs.fields(ChatRequest)),
        *(
            "role",
            "content",
            "type",
            "text",
            "image_url",
            "url",
            "function",
            "name",
            "json_schema",
            "arguments",
        ),
        *("tool_calls", "tool_call_id", "effort", "include_usage", "enable_web_search", "_errors", "zzz"),
    ]
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "file", "x"])},
    optional={"text": scalars, "image_url": anything, "input_audio": anything, "cache_control": anything},
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "x"])},
    optional={
        "content": scalars | st.lists(parts | anything, max_size=3),
        "tool_call_id": scalars,
        "tool_calls": anything,
        "name": scalars,
    },
)
requests = st.builds(
    lambda base, other: base | other,
    st.fixed_dictionaries({"model": st.just("m"), "messages": st.lists(messages, max_size=3)}),
    st.dictionaries(keys, anything, max_size=3),
)


@pytest.mark.long
@settings(max_examples=400, deadline=None)
@given(requests | anything)
def test_what_the_decoder_refuses_has_an_issue_and_what_it_takes_has_none(value: Any) -> None:
    body = msgspec.json.encode(value)
    try:
        msgspec.json.decode(body, type=ChatRequest)
    except msgspec.ValidationError:
        issues = find_issues(body, ChatRequest)
        assert 1 <= len(issues) <= MAX_ISSUES
        msgspec.json.encode([issues, error_details(issues)])
    else:
        assert find_issues(body, ChatRequest) == []


@pytest.mark.long
@settings(max_examples=400, deadline=None)
@given(requests.map(msgspec.json.encode), st.data())
def test_a_body_hurt_anywhere_is_read_or_refused_but_never_crashes(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    hurt = body[:at] + data.draw(st.binary(max_size=3)) + body[at + data.draw(st.integers(0, 3)) :]
    with suppress(InvalidRequest, MalformedJson):
        decode(hurt, ChatRequest)

"""Every field of a chat request, wrong in every way: refused by name, quickly, and never with a crash."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from fondaco.chat.wire import ChatRequest, VeniceParameters, normalised
from fondaco.errors import InvalidRequest, Issue, MalformedJson
from fondaco.http.validation import decode

GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

TEXT, NUMBER, FLAG, LIST, OBJECT = "x", 7, True, [], {"zzz": {"zzz": 1}}

HUGE = 10**40


class Field(NamedTuple):
    """`wrong` are values of other types, `outside` are of the right type but not allowed."""

    wrong: Sequence[Any]
    outside: Sequence[Any] = ()
    inside: Sequence[Any] = ()


NOT_NUMBER = [TEXT, FLAG, LIST, OBJECT]
NOT_TEXT = [NUMBER, FLAG, LIST, OBJECT]
NOT_FLAG = [TEXT, NUMBER, 0, LIST, OBJECT]
NOT_LIST = [TEXT, NUMBER, FLAG, OBJECT]
NOT_OBJECT = [TEXT, NUMBER, FLAG, LIST]
TWO_SIDED = Field(NOT_NUMBER, [-2.01, 2.01, HUGE, -HUGE], [-2, 2])
ZERO_TO_TWO = Field(NOT_NUMBER, [-0.01, 2.01, HUGE], [0, 2])
ZERO_TO_ONE = Field(NOT_NUMBER, [-0.01, 1.01, HUGE], [0, 1])
WORD = Field(NOT_TEXT, ["", "x" * 100_000, "LOW"])
IGNORED_OBJECT = Field(NOT_OBJECT, [], [{"a": {"b": [1]}}])

FIELDS: dict[str, Field] = {
    "messages": Field(
        NOT_LIST, [[], [7], [{}], [{"role": "x"}], [{"role": "user"}], [{"role": "user", "content": None}]]
    ),
    "frequency_penalty": TWO_SIDED,
    "presence_penalty": TWO_SIDED,
    "repetition_penalty": Field(NOT_NUMBER, [-0.01], [0, 3]),
    "temperature": ZERO_TO_TWO,
    "min_temp": ZERO_TO_TWO,
    "max_temp": ZERO_TO_TWO,
    "top_p": ZERO_TO_ONE,
    "min_p": ZERO_TO_ONE,
    "top_k": Field([*NOT_NUMBER, 1.5], [-1, HUGE], [0, 40]),
    "seed": Field([*NOT_NUMBER, 1.5], [0, -1, HUGE], [1, 2**63 - 1]),
    "n": Field([*NOT_NUMBER, 1.5], [0, -1, 129, HUGE], [1]),
    "max_tokens": Field([*NOT_NUMBER, 1.5], [HUGE, -HUGE], [0, -1, 1]),
    "max_completion_tokens": Field([*NOT_NUMBER, 1.5], [HUGE, -HUGE], [1]),
    "top_logprobs": Field([*NOT_NUMBER, 1.5], [-1, HUGE], [0, 20]),
    "logprobs": Field(NOT_FLAG, [], [True, False]),
    "stream": Field(NOT_FLAG, [], [True, False]),
    "parallel_tool_calls": Field(NOT_FLAG, [], [True, False]),
    "store": Field(NOT_FLAG, [], [True, False]),
    "stop": Field([NUMBER, FLAG, OBJECT], [[], list("abcde"), [7]], ["a", ["a", "b", "c", "d"]]),
    "stop_token_ids": Field(NOT_LIST, [["a"], [-1], [HUGE], [1] * 4097], [[], [1, 2]]),
    "logit_bias": Field(NOT_OBJECT, [{"1": "x"}, {"1": 101}, {"1": HUGE}], [{"1": -100, "2": 3.5}]),
    "stream_options": Field(NOT_OBJECT, [{"include_usage": 1}], [{}, {"include_usage": True, "more": 1}]),
    "response_format": Field(
        NOT_OBJECT,
        [
            {},
            {"type": "xml"},
            {"type": "text", "x": 1},
            {"type": "json_schema"},
            {"type": "json_schema", "json_schema": 7},
        ],
        [{"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {}}],
    ),
    "tools": Field(
        NOT_LIST,
        [
            [7],
            [{}],
            [{"function": {}}],
            [{"function": {"name": 7}}],
            [{"name": "f", "parameters": []}],
            [{"type": "x"}],
        ],
        [[], [{"type": "web_search"}], [{"function": {"name": "f", "strict": None}}]],
    ),
    "tool_choice": Field(
        [NUMBER, FLAG, LIST], ["x", {}, {"function": {}}, {"function": {"name": "g"}}], ["auto", "none"]
    ),
    "functions": Field(NOT_LIST, [[7], [{}]], [[], [{"name": "f"}]]),
    "function_call": Field([NUMBER, FLAG, LIST], ["x", {}, {"name": 7}, {"name": "g"}], ["auto", "none"]),
    "reasoning_effort": WORD._replace(inside=["none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    "reasoning": Field(
        NOT_OBJECT, [{"effort": "x"}, {"summary": 1}, {"enabled": "x"}], [{}, {"enabled": True}]
    ),
    "verbosity": WORD._replace(inside=["low", "medium", "high", "auto"]),
    "text": Field(NOT_OBJECT, [{"verbosity": "x"}], [{}, {"format": {"type": "text"}}]),
    "venice_parameters": Field(NOT_OBJECT, [], [{}, {"unknown": 1}]),
    "prompt_cache_key": Field(NOT_TEXT, [], ["k"]),
    "prompt_cache_retention": WORD._replace(inside=["default", "extended", "24h"]),
    "fallbacks": Field(NOT_LIST, [[{}], [{"model": 7}], [{"model": "m"}] * 11], [[], [{"model": "m"}] * 10]),
    "anon_user_id": Field(NOT_TEXT, ["", "a||b", "é", "a\n", "x" * 129], ["a|b", "x" * 128]),
    "user": Field(NOT_TEXT, [], ["u", "x" * 100_000]),
    "service_tier": Field(NOT_TEXT, [], ["auto"]),
    "safety_identifier": Field(NOT_TEXT, [], ["x"]),
    "include": Field(NOT_LIST, [[7]], [["a"]]),
    "modalities": Field(NOT_LIST, [[7]], [["text"]]),
    "metadata": IGNORED_OBJECT,
    "prediction": IGNORED_OBJECT,
    "audio": IGNORED_OBJECT,
    "web_search_options": IGNORED_OBJECT,
}


def read(body: dict[str, Any]) -> ChatRequest:
    return normalised(decode(json.dumps(body).encode(), ChatRequest))


def issues_of(body: dict[str, Any]) -> tuple[Issue, ...]:
    with pytest.raises(InvalidRequest) as caught:
        read(body)
    return caught.value.issues


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{index}")
        for name, field in FIELDS.items()
        for index, value in enumerate(getattr(field, kind))
    ]


def test_every_field_is_tried() -> None:
    known = {field.encode_name for field in msgspec.structs.fields(ChatRequest)}
    assert known == {*FIELDS, "model"}


@pytest.mark.parametrize(("name", "value"), cases("wrong"))
def test_a_value_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    issues = issues_of(GOOD | {name: value})
    assert {issue.path[0] for issue in issues} == {name}
    assert all(len(issue.message) < 500 for issue in issues)


@pytest.mark.parametrize(("name", "value"), cases("outside"))
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    issues = issues_of(GOOD | {name: value})
    assert {issue.path[0] for issue in issues} == {name}
    assert all(len(issue.message) < 500 for issue in issues)


@pytest.mark.parametrize(("name", "value"), cases("inside"))
def test_the_ends_of_each_range_are_inside(name: str, value: Any) -> None:
    read(GOOD | {name: value})


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "messages"])
def test_null_is_as_good_as_absent(name: str) -> None:
    read(GOOD | {name: None})


@pytest.mark.parametrize("name", ["messages", "model"])
def test_what_is_required_cannot_be_null_or_absent(name: str) -> None:
    for body in (GOOD | {name: None}, {key: value for key, value in GOOD.items() if key != name}):
        with pytest.raises(InvalidRequest) as caught:
            read(body)
        assert name in caught.value.message or caught.value.issues[0].path == (name,)


@pytest.mark.parametrize(
    "name", ["temprature", "Model", "messages ", "", "_errors", "__proto__", "é" * 10_000]
)
def test_an_unknown_field_is_refused_by_name(name: str) -> None:
    (issue,) = issues_of(GOOD | {name: 1})
    assert (issue.code, issue.path) == ("unrecognized_keys", ())
    assert issue.keys[0][:20] == name[:20]
    assert len(issue.message) < 200


@pytest.mark.parametrize("name", [field.encode_name for field in msgspec.structs.fields(VeniceParameters)])
def test_each_venice_parameter_is_checked(name: str) -> None:
    for value in (7, [], {}):
        (issue,) = issues_of(GOOD | {"venice_parameters": {name: value}})
        assert issue.path == ("venice_parameters", name)
    read(GOOD | {"venice_parameters": {name: None}})


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"role": "user", "content": 7}, ("content",)),
        ({"role": "user", "content": [7]}, ("content", 0)),
        ({"role": "user", "content": [{"type": "text"}]}, ("content", 0, "text")),
        ({"role": "user", "content": [{"type": "text", "text": ""}]}, ("content", 0, "text")),
        ({"role": "user", "content": [{"type": "x"}]}, ("content", 0, "type")),
        ({"role": "user", "content": [{"text": "x"}]}, ("content", 0, "type")),
        ({"role": "user", "content": [{"type": "image_url"}]}, ("content", 0, "image_url")),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            ("content", 0, "image_url", "url"),
        ),
        (
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "midi"}}],
            },
            ("content", 0, "input_audio", "format"),
        ),
        ({"role": "user", "content": [{"type": "video_url", "video_url": 7}]}, ("content", 0, "video_url")),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, ("content", 0, "file", "file_data")),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "x"}}]},
            ("content", 0, "cache_control", "type"),
        ),
        ({"role": "user", "content": "x", "name": 7}, ("name",)),
        ({"role": "system", "content": None}, ("content",)),
        ({"role": "tool", "content": "x"}, ("tool_call_id",)),
        ({"role": "tool", "tool_call_id": "x"}, ("content",)),
        ({"role": "assistant", "content": "x", "tool_calls": {}}, ("tool_calls",)),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, ("tool_calls", 0, "function", "name")),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
            ("tool_calls", 0, "function", "arguments"),
        ),
        ({"role": 7, "content": "x"}, ("role",)),
        ({"content": "x"}, ("role",)),
    ],
)
def test_a_fault_deep_in_a_message_is_named_with_its_whole_path(
    message: Any, path: tuple[str | int, ...]
) -> None:
    issues = issues_of(GOOD | {"messages": [*GOOD["messages"], message]})
    assert [issue.path for issue in issues] == [("messages", 1, *path)]


def seconds_to_refuse(body: bytes) -> float:
    started = time.perf_counter()
    with pytest.raises((InvalidRequest, MalformedJson)):
        normalised(decode(body, ChatRequest))
    return time.perf_counter() - started


def many(item: bytes, count: int) -> bytes:
    return b'{"model":"m","messages":[' + b",".join([item] * count) + b"]}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(lambda: many(b'{"role":"user","content":"x"}', 1_000_000), id="a million good messages"),
        pytest.param(lambda: many(b'{"role":"nobody"}', 1_000_000), id="a million bad messages"),
        pytest.param(lambda: many(b"{}", 1_000_000), id="a million empty messages"),
        pytest.param(
            lambda: many(b'{"role":"user","content":"x"}', 140_000), id="more messages than any context"
        ),
        pytest.param(lambda: many(b'{"role":"user"}', 60_000), id="as many bad messages as are looked at"),
        pytest.param(lambda: b"[" * 100_000 + b"]" * 100_000, id="nested arrays"),
        pytest.param(lambda: b'{"model":' * 100_000, id="nested objects"),
        pytest.param(lambda: b'{"model":"m","tools":' + b"[" * 100_000, id="nested arrays in a field"),
        pytest.param(
            lambda: b'{"model":"m","metadata":{"a":' + b"[" * 100_000, id="nested arrays in what is ignored"
        ),
        pytest.param(lambda: b'{"model":"m","zzz":"' + b"x" * 30_000_000 + b'"}', id="a huge unknown field"),
        pytest.param(
            lambda: b'{"model":"m","messages":"' + b"\\\\" * 10_000_000 + b'"}',
            id="huge text where a list is due",
        ),
        pytest.param(lambda: b"\xff" * 30_000_000, id="invalid UTF-8"),
        pytest.param(lambda: b'{"model":"' + b"\xff" * 30_000_000 + b'"}', id="invalid UTF-8 in text"),
        pytest.param(
            lambda: b"{" + b",".join(b'"k%d":1' % index for index in range(1_000_000)) + b"}",
            id="a million unknown fields",
        ),
        pytest.param(lambda: b'"' + b"," * 400_000 + b'"' + b'""' * 10_000_000, id="a flood of quotes"),
        pytest.param(lambda: b'\\"' * 10_000_000 + b"," * 400_000, id="a flood of escapes"),
    ],
)
def test_a_flood_is_refused_quickly(body: Callable[[], bytes]) -> None:
    # On a quiet machine each takes less than 0.3 s; the bound leaves room for a busy one.
    assert seconds_to_refuse(body()) < 2

"""What a chat request may look like, and the one form it is given."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fondaco.chat.messages import AssistantMessage, ToolMessage, UserMessage
from fondaco.chat.wire import ChatRequest, JsonSchemaFormat, normalised
from fondaco.content import ContentLeak
from fondaco.errors import InvalidRequest, ModelNotText
from fondaco.http.validation import decode

ASK: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]


def read(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": ASK} | fields
    return normalised(decode(msgspec.json.encode(body), ChatRequest))


def encoded(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def refused(**fields: Any) -> list[tuple[str | int, ...]]:
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    return [issue.path for issue in caught.value.issues]


def test_a_request_cannot_be_printed() -> None:
    request = read()
    assert repr(request) == "<content>"
    assert repr(request.messages[0]) == "<content>"
    with pytest.raises(ContentLeak):
        str(request)


def test_every_optional_field_may_be_null() -> None:
    optional = [field.encode_name for field in msgspec.structs.fields(ChatRequest) if not field.required]
    assert len(optional) > 40
    read(**dict.fromkeys(optional))


def test_messages_dumped_by_an_sdk_can_be_sent_back() -> None:
    request = read(
        messages=[
            *ASK,
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "audio": None,
                "annotations": [],
                "function_call": None,
                "reasoning_content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                        "index": 0,
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "4", "name": None},
        ]
    )
    assert encoded(request.messages) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "content": "4", "tool_call_id": "call_1"},
    ]


def test_roles_are_told_apart() -> None:
    roles = ["system", "developer", "user", "assistant"]
    request = read(messages=[{"role": role, "content": "x"} for role in roles])
    assert [message.role for message in request.messages] == roles


def test_a_turn_of_the_assistant_that_says_nothing_is_dropped() -> None:
    request = read(messages=[*ASK, {"role": "assistant"}, {"role": "assistant", "content": ""}, *ASK])
    assert [type(message) for message in request.messages] == [UserMessage, UserMessage]
    assert refused(messages=[{"role": "assistant"}]) == [("messages",)]


def test_only_users_may_send_media() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert read(messages=[{"role": "user", "content": [picture]}])
    for role in ("system", "developer", "assistant"):
        assert refused(messages=[{"role": role, "content": [picture]}]) == [
            ("messages", 0, "content", 0, "type")
        ]


def test_parts_carry_cache_marks() -> None:
    part = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    request = read(messages=[{"role": "user", "content": [part]}])
    assert encoded(request.messages[0].content) == [part]


def test_sound_is_wav_unless_said_otherwise() -> None:
    part = {"type": "input_audio", "input_audio": {"data": "AA=="}}
    request = read(messages=[{"role": "user", "content": [part]}])
    assert encoded(request.messages[0].content)[0]["input_audio"]["format"] == "wav"


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}},
        {"name": "f", "description": "d", "input_schema": {"type": "object"}},
    ],
)
def test_tools_in_any_spelling_become_nested(tool: dict[str, Any]) -> None:
    request = read(tools=[tool])
    assert encoded(request.tools) == [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
        }
    ]
    assert [function.name for function in request.offered_functions] == ["f"]


def test_the_vendors_own_tools_are_kept_apart_from_functions() -> None:
    request = read(tools=[{"type": "web_search"}, {"type": "x_search"}])
    assert encoded(request.tools) == [{"type": "web_search"}, {"type": "x_search"}]
    assert request.offered_functions == []


@pytest.mark.parametrize(
    "tool", [{}, {"type": "function"}, {"type": "code_interpreter"}, {"type": "computer", "name": "x"}]
)
def test_a_tool_that_names_no_function_is_refused(tool: dict[str, Any]) -> None:
    assert refused(tools=[{"name": "f"}, tool]) == [("tools", 1)]


def test_no_tools_and_null_tools_are_the_same() -> None:
    assert read(tools=[]).tools is None
    assert read(tools=None).tools is None


def test_a_schema_deeper_or_larger_than_engines_bear_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(80):
        deep = {"properties": deep}
    path = ("tools", 0, "function", "parameters")
    assert refused(tools=[{"function": {"name": "f", "parameters": deep}}]) == [path]
    assert refused(tools=[{"function": {"name": "f", "parameters": {"description": "x" * (2 << 20)}}}]) == [
        path
    ]
    assert refused(tools=[{"name": "f", "input_schema": deep}]) == [("tools", 0, "input_schema")]
    schema_format = {"type": "json_schema", "json_schema": {"schema": deep}}
    assert refused(response_format=schema_format) == [("response_format", "json_schema")]


def test_many_brackets_side_by_side_or_in_text_are_not_deep() -> None:
    schema = {"enum": [[] for _ in range(500)], "pattern": '[{\\"[' * 100}
    assert read(tools=[{"function": {"name": "f", "parameters": schema}}])


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
    ],
)
def test_a_choice_in_any_spelling_has_one_form(choice: Any, meant: Any) -> None:
    assert encoded(read(tools=[{"name": "f"}], tool_choice=choice).tool_choice) == meant


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "g"}}, {"type": "function"}]
)
def test_a_choice_of_what_is_not_offered_is_refused(choice: Any) -> None:
    tools = None if choice == "required" else [{"name": "f"}]
    assert refused(tools=tools, tool_choice=choice) == [("tool_choice",)]


def test_older_functions_are_tools() -> None:
    request = read(
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
        messages=[
            *ASK,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
            {"role": "function", "name": "f", "content": "4"},
        ],
    )
    assert [function.name for function in request.offered_functions] == ["f"]
    assert encoded(request.tool_choice) == {"type": "function", "function": {"name": "f"}}
    assert request.functions is request.function_call is None
    _, called, answered = request.messages
    assert isinstance(called, AssistantMessage)
    assert isinstance(answered, ToolMessage)
    assert called.tool_calls is not None
    assert called.tool_calls[0].id == answered.tool_call_id


def test_a_call_without_arguments_has_empty_ones() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": None}}
    request = read(messages=[*ASK, {"role": "assistant", "tool_calls": [call]}])
    assert encoded(request.messages[1])["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_tokens": 0}, None),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
    ],
)
def test_the_limit_of_the_answer_is_the_one_that_counts(given: dict[str, Any], limit: int | None) -> None:
    assert read(**given).completion_limit == limit


def test_stop_is_one_string_or_up_to_four() -> None:
    assert read(stop="a").stops == ["a"]
    assert read(stop=["a", "b"]).stops == ["a", "b"]
    assert read(stop=None).stops == []
    assert refused(stop=list("abcde")) == [("stop",)]


def test_reasoning_effort_wins_over_reasoning() -> None:
    assert read(reasoning_effort="high", reasoning={"effort": "low"}).effort == "high"
    assert read(reasoning={"effort": "low", "exclude": True}).effort == "low"
    assert read().effort is None


def test_the_usage_chunk_comes_only_when_asked_for() -> None:
    assert not read(stream=True).wants_usage_chunk
    assert read(
        stream=True, stream_options={"include_usage": True, "include_obfuscation": False}
    ).wants_usage_chunk


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ({"name": "n", "strict": True, "schema": {"type": "object"}}, {"type": "object"}),
        ({"type": "object", "properties": {}}, {"type": "object", "properties": {}}),
        (
            {"properties": {"schema": 1}, "schema": "no object"},
            {"properties": {"schema": 1}, "schema": "no object"},
        ),
    ],
)
def test_a_schema_may_stand_in_its_envelope_or_bare(given: dict[str, Any], schema: dict[str, Any]) -> None:
    request = read(response_format={"type": "json_schema", "json_schema": given})
    assert isinstance(request.response_format, JsonSchemaFormat)
    assert msgspec.json.decode(request.response_format.schema) == schema


def test_formats_are_strict() -> None:
    assert read(response_format={"type": "text"})
    assert read(response_format={"type": "json_object"})
    assert refused(response_format={"type": "text", "x": 1}) == [("response_format",)]
    assert refused(response_format={"type": "json_schema"}) == [("response_format", "json_schema")]


def test_unknown_venice_parameters_are_dropped() -> None:
    request = read(venice_parameters={"enable_web_search": "auto", "unheard_of": 1, "disable_thinking": None})
    assert request.venice_parameters is not None
    assert request.venice_parameters.enable_web_search == "auto"


@pytest.mark.parametrize("value", [1, "true", []])
def test_switches_are_true_or_false_and_nothing_like_it(value: Any) -> None:
    path = ("venice_parameters", "disable_thinking")
    assert refused(venice_parameters={"disable_thinking": value}) == [path]


def test_a_missing_model_is_said_before_anything_else() -> None:
    for body, message in (
        (b'{"messages":7}', "model is required"),
        (b'{"model":7,"zzz":1}', "model must be a string"),
        (b'{"model":null}', "model must be a string"),
    ):
        with pytest.raises(ModelNotText) as caught:
            decode(body, ChatRequest)
        assert caught.value.message == message
        assert not caught.value.issues

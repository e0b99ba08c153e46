"""What an engine is sent of a request: all that the caller said, nothing else; and what is refused (CONTRACT 3.1-3.6)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fake_engines import delta, event, stream, whole
from fondaco.chat.system_prompts import GENERAL
from scripted_chat import LOCAL, USER, Gateway, in_cuts, in_json

pytestmark = pytest.mark.anyio

ANSWER = in_json(whole({"content": "Hi."}))
OFF = {"include_venice_system_prompt": False}


async def sent(**fields: Any) -> dict[str, Any]:
    """The body that a bound engine gets, without model and messages."""
    gateway = Gateway(ANSWER)
    await gateway.whole(**fields)
    body = gateway.engine.body
    assert body.pop("model") == "theirs"
    return body


async def test_nothing_is_sent_that_the_caller_did_not_say() -> None:
    assert await sent() == {}
    nothing = dict.fromkeys(
        [
            "temperature",
            "top_p",
            "max_tokens",
            "max_completion_tokens",
            "stop",
            "n",
            "seed",
            "tools",
            "tool_choice",
            "response_format",
            "logit_bias",
            "logprobs",
            "top_logprobs",
            "stream",
            "stream_options",
            "functions",
            "user",
            "function_call",
            "parallel_tool_calls",
            "reasoning_effort",
            "reasoning",
            "metadata",
            "venice_parameters",
        ]
    )
    assert await sent(**nothing) == {}
    assert await sent(n=1, logprobs=False, tools=[], max_tokens=0, response_format={"type": "text"}) == {}


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.7, "top_p": 0.1}, {"temperature": 0.7, "top_p": 0.1}),
        ({"top_k": 40, "min_p": 0.05}, {"top_k": 40, "min_p": 0.05}),
        ({"min_temp": 0.2, "max_temp": 1.5}, {"min_temp": 0.2, "max_temp": 1.5}),
        ({"frequency_penalty": -2, "presence_penalty": 2}, {"frequency_penalty": -2, "presence_penalty": 2}),
        ({"repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"seed": 42}, {"seed": 42}),
        ({"n": 3}, {"n": 3}),
        ({"stop": "END"}, {"stop": ["END"]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop_token_ids": [1, 2]}, {"stop_token_ids": [1, 2]}),
        ({"logit_bias": {"15": -100, "16": 2.5}}, {"logit_bias": {"15": -100, "16": 2.5}}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        ({"top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": -1}, {}),
        ({"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_tokens": 9, "max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_output_tokens": 7}, {"max_tokens": 7}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"user": "u", "store": True, "metadata": {"a": 1}, "service_tier": "auto", "include": ["x"]}, {}),
        ({"prompt_cache_key": "k", "promptCacheKey": "k", "anon_user_id": "a"}, {}),
    ],
    ids=str,
)
async def test_each_field_reaches_the_engine_as_it_was_said(
    fields: dict[str, Any], body: dict[str, Any]
) -> None:
    assert await sent(**fields) == body


async def test_a_streamed_request_asks_the_engine_for_its_usage() -> None:
    gateway = Gateway(in_cuts(stream({"content": "x"})))
    await gateway.streamed()
    assert gateway.engine.body == {
        "model": "theirs",
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_top_logprobs_of_nothing_are_not_asked_for() -> None:
    assert await sent(top_logprobs=0) == {}


async def test_schemas_come_in_both_spellings() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    named = {"name": "thing", "strict": True, "schema": schema}
    assert (await sent(response_format={"type": "json_schema", "json_schema": named}))["response_format"] == {
        "type": "json_schema",
        "json_schema": named,
    }
    bare = (await sent(response_format={"type": "json_schema", "json_schema": schema}))["response_format"]
    assert bare["json_schema"]["schema"] == schema
    assert bare["json_schema"]["name"]


async def test_a_limit_above_the_models_is_refused_in_the_contracts_words() -> None:
    for field in ("max_completion_tokens", "max_tokens"):
        gateway = Gateway(ANSWER)
        response = await gateway.ask(**{field: 8192})
        assert response.status == 400
        [issue] = response.json["issues"]
        assert issue["path"] == [field]
        assert issue["message"] == f"{field} (8192) exceeds the maximum allowed for model 'm' (4096)"
        assert gateway.engine.asked == []
    assert await sent(max_tokens=4096) == {"max_tokens": 4096}


async def test_a_stand_ins_limit_is_lowered_for_who_cannot_know_it() -> None:
    gateway = Gateway(ANSWER)
    response = await gateway.ask(model="llama-3.3-70b", max_completion_tokens=30_000)
    assert response.status == 200
    assert gateway.engine.body["max_tokens"] == 4096


async def test_a_local_model_is_always_given_an_end() -> None:
    gateway = Gateway(ANSWER)
    await gateway.whole(model=LOCAL)
    assert gateway.engine.body["max_tokens"] == 4096
    await gateway.whole(model=LOCAL, repetition_penalty=1.2, min_temp=0.4, max_temp=1.0)
    body = gateway.engine.body
    assert body["repeat_penalty"] == 1.2
    assert body["temperature"] == pytest.approx(0.7)
    assert body["dynatemp_range"] == pytest.approx(0.3)


# Capabilities.

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("facts", "fields", "named"),
    [
        ({"functions": False}, {"tools": [TOOL]}, "tools"),
        ({"functions": False}, {"tools": [TOOL], "tool_choice": "required"}, "tools"),
        ({"functions": False}, {"functions": [{"name": "f"}]}, "tools"),
        ({"response_schema": False}, {"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": False}, {"logprobs": True}, "logprobs"),
        ({"logprobs": False}, {"top_logprobs": 2}, "top_logprobs"),
    ],
    ids=str,
)
async def test_what_a_model_cannot_do_is_refused_by_field(
    facts: dict[str, Any], fields: dict[str, Any], named: str
) -> None:
    gateway = Gateway(ANSWER, **facts)
    response = await gateway.ask(**fields)
    assert response.status == 400
    assert response.json["issues"][0]["path"] == [named]
    assert response.json["issues"][0]["message"] == f"{named} is not supported by this model"
    assert gateway.engine.asked == []


async def test_habits_that_ask_for_nothing_pass_with_any_model() -> None:
    gateway = Gateway(ANSWER, functions=False, response_schema=False, logprobs=False)
    await gateway.whole(tools=[], tool_choice="none", parallel_tool_calls=True, logprobs=False)
    assert "tools" not in gateway.engine.body


# venice_parameters.


async def test_values_that_ask_for_nothing_pass_and_are_echoed() -> None:
    answer = await Gateway(ANSWER).whole(
        venice_parameters={
            "enable_web_search": "off",
            "enable_web_scraping": False,
            "character_slug": None,
            "enable_web_citations": True,
            "include_search_results_in_stream": True,
            "return_search_results_as_documents": None,
            "enable_x_search": True,
            "enable_e2ee": True,
            "unknown": {"a": 1},
            **OFF,
        }
    )
    echo = answer["venice_parameters"]
    assert echo["enable_web_search"] == "off"
    assert echo["enable_web_citations"] is True
    assert echo["include_search_results_in_stream"] is True
    assert echo["return_search_results_as_documents"] is False
    assert echo["include_venice_system_prompt"] is False
    assert "unknown" not in echo
    assert "character_slug" not in echo


async def test_a_suffix_wins_over_the_body() -> None:
    answer = await Gateway(ANSWER).whole(
        model="m:include_venice_system_prompt=false&strip_thinking_response=true&nonsense=1&enable_web_search=off",
        venice_parameters={"include_venice_system_prompt": True, "enable_web_search": "on"},
    )
    assert answer["model"] == "m"
    echo = answer["venice_parameters"]
    assert (echo["include_venice_system_prompt"], echo["strip_thinking_response"]) == (False, True)


# Prompts.


async def prompted(
    messages: list[dict[str, Any]], system: str | None = None, **fields: Any
) -> list[dict[str, Any]]:
    gateway = Gateway(ANSWER, system=system)
    await gateway.whole(messages=messages, **fields)
    return gateway.engine.messages


async def test_the_servers_prompt_comes_first_and_the_callers_after_it() -> None:
    system = {"role": "system", "content": "Be brief."}
    first, *rest = await prompted([system, *USER])
    assert first["role"] == "system"
    assert first["content"].startswith(GENERAL)
    assert str(datetime.now(UTC).year) in first["content"]
    assert first["content"].endswith("\n\nBe brief.")
    assert rest == USER
    assert await prompted([system, *USER], venice_parameters=OFF) == [system, *USER]
    assert await prompted(USER, venice_parameters=OFF) == USER
    assert await prompted([system, *USER], system="") == [system, *USER]
    own, *_ = await prompted([system, *USER], system="Ours.")
    assert own["content"].startswith("Ours.")


async def test_a_developer_is_a_system_to_engines() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "One."}]},
        {"role": "system", "content": "Two.", "name": None},
        *USER,
        {"role": "developer", "content": "Later."},
    ]
    assert await prompted(messages, venice_parameters=OFF) == [
        {"role": "system", "content": "One.\n\nTwo."},
        *USER,
        {"role": "system", "content": "Later."},
    ]


async def test_a_conversation_dumped_by_an_sdk_is_taken_back() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    nulls = {
        "refusal": None,
        "audio": None,
        "function_call": None,
        "annotations": None,
        "reasoning_content": None,
    }
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call], **nulls},
        {"role": "tool", "tool_call_id": "call_1", "content": "42", "name": "f"},
        {"role": "assistant", "content": "It is 42.", "tool_calls": None, **nulls},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "assistant", "content": "", **nulls},
        {"role": "user", "content": "And?"},
    ]
    assert await prompted(messages, venice_parameters=OFF) == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{k: v for k, v in call.items() if k != "index"}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "assistant", "content": "It is 42."},
        {"role": "user", "content": "And?"},
    ]


# Thinking's switches.


@pytest.mark.parametrize(
    "quiet", [{"venice_parameters": {"disable_thinking": True}}, {"reasoning_effort": "none"}], ids=str
)
async def test_thinking_is_turned_off_by_the_bindings_switch(quiet: dict[str, Any]) -> None:
    for switch, body in (
        ("none", {}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"enable_thinking": False}}),
        ("reasoning_effort", {"reasoning_effort": "none"}),
    ):
        gateway = Gateway(ANSWER, reasoning=True, thinking_switch=switch)
        await gateway.whole(**quiet)
        assert gateway.engine.body == {"model": "theirs", **body}


async def test_effort_reaches_models_that_reason() -> None:
    for fields in ({"reasoning_effort": "high"}, {"reasoning": {"effort": "high"}}):
        gateway = Gateway(ANSWER, reasoning=True)
        await gateway.whole(**fields)
        assert gateway.engine.body["reasoning_effort"] == "high"
        plain = Gateway(ANSWER)
        await plain.whole(**fields)
        assert "reasoning_effort" not in plain.engine.body


# Tools through the whole slice.

NATIVE = [
    {
        "tool_calls": [
            {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}
        ]
    },
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    {"tool_calls": [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "f"}}]},
]


@pytest.mark.parametrize("size", [1, 60, 5000])
async def test_calls_of_a_bound_engine_come_through(size: int) -> None:
    gateway = Gateway(in_cuts(stream(*NATIVE), size))
    said = await gateway.both(tools=[TOOL], tool_choice="auto", parallel_tool_calls=True)
    assert said.calls == [[("f", '{"a":1}'), ("f", "{}")]]
    assert said.finish == ["tool_calls"]
    assert gateway.engine.body["tools"] == [TOOL]
    assert gateway.engine.body["tool_choice"] == "auto"
    assert gateway.engine.body["parallel_tool_calls"] is True
    whole_answer = await gateway.whole(tools=[TOOL])
    assert whole_answer["choices"][0]["message"]["content"] is None


async def test_calls_whole_and_without_arguments_come_through() -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    bare = {"type": "function", "function": {"name": "f"}}
    said = await Gateway(in_json(whole({"content": "", "tool_calls": [call, bare]}))).both(tools=[TOOL])
    assert said.calls == [[("f", '{"a": 1}'), ("f", "{}")]]
    assert said.finish == ["tool_calls"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, None),
        (None, ...),
    ],
    ids=str,
)
async def test_the_choice_of_tools_reaches_a_bound_engine(choice: Any, told: Any) -> None:
    body = await sent(tools=[TOOL], tool_choice=choice)
    if told is ...:
        assert "tool_choice" not in body
    else:
        assert body["tool_choice"] == (told or choice)


async def test_older_functions_are_tools() -> None:
    body = await sent(functions=[TOOL["function"]], function_call={"name": "f"})
    assert body["tools"] == [TOOL]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}


FORCED = '[{"name": "f", "arguments": {"city": "Paris"}}, {"name": "g", "arguments": {}}]'
TOOLS = [TOOL, {"type": "function", "function": {"name": "g"}}]


@pytest.mark.parametrize("size", [1, 3, 80])
async def test_a_local_model_that_must_call_does(size: int) -> None:
    deltas = [{"content": FORCED[at : at + size]} for at in range(0, len(FORCED), size)]
    gateway = Gateway(in_cuts(stream(*deltas), 400))
    said = await gateway.both(model=LOCAL, tools=TOOLS, tool_choice="required")
    assert said.calls == [[("f", '{"city": "Paris"}'), ("g", "{}")]]
    assert (said.text, said.finish) == ("", ["tool_calls"])
    schema = gateway.engine.body["response_format"]["json_schema"]["schema"]
    assert schema["minItems"] == 1
    assert [each["properties"]["name"]["const"] for each in schema["items"]["anyOf"]] == ["f", "g"]
    assert "tools" not in gateway.engine.body
    await gateway.whole(model=LOCAL, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "g"}})
    schema = gateway.engine.body["response_format"]["json_schema"]["schema"]
    assert schema["maxItems"] == 1
    assert schema["items"]["properties"]["name"]["const"] == "g"


async def test_a_local_model_may_call_in_prose() -> None:
    text = 'I look.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    gateway = Gateway(in_cuts(stream(*({"content": text[at : at + 4]} for at in range(0, len(text), 4))), 90))
    said = await gateway.both(model=LOCAL, tools=TOOLS)
    assert (said.text.strip(), said.calls, said.finish) == ("I look.", [[("f", '{"a":1}')]], ["tool_calls"])
    assert '"name":"f"' in gateway.engine.messages[0]["content"]
    quiet = await gateway.both(model=LOCAL, tools=TOOLS, tool_choice="none")
    assert (quiet.text, quiet.calls) == (text, [[]])


async def test_a_round_trip_of_tools_is_written_out_for_a_local_model() -> None:
    gateway = Gateway(in_cuts(stream({"content": "It is 42."})))
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    messages = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ]
    said = await gateway.both(model=LOCAL, messages=messages, tools=TOOLS)
    assert (said.text, said.finish) == ("It is 42.", ["stop"])
    roles = [message["role"] for message in gateway.engine.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert '{"name": "f", "arguments": {"a":1}}' in gateway.engine.messages[2]["content"]
    assert gateway.engine.messages[3]["content"].startswith("f returned:\n42")


async def test_calls_of_several_choices_are_kept_apart() -> None:
    calls = [
        {"index": 0, "id": f"call_{at}", "function": {"name": "f", "arguments": f'{{"a":{at}}}'}}
        for at in (0, 1)
    ]
    said = b"".join(event([delta(at, role="assistant", tool_calls=[calls[at]])]) for at in (0, 1))
    said += b"".join(event([delta(at, finish="tool_calls")]) for at in (0, 1))
    answer = await Gateway(in_cuts(said + b"data: [DONE]\n\n", 70)).both(tools=[TOOL], n=2)
    assert answer.calls == [[("f", '{"a":0}')], [("f", '{"a":1}')]]
    assert answer.finish == ["tool_calls", "tool_calls"]

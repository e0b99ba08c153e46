"""The official Python client against a real server on real models: nothing is told to it but base URL and key."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Literal

import jsonschema_rs
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from gateways import ADMIN_KEY, CODER, TINY, Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = pytest.mark.timeout(900)

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get current weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Get the time in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
STATUS: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_status", "description": "Get the server's status"},
}
PET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 20},
        "kind": {"enum": ["cat", "dog"]},
        "email": {"type": ["string", "null"], "maxLength": 20},
    },
    "required": ["name", "age", "kind", "email"],
    "additionalProperties": False,
}

# Without the server's own prompt there is less to read, which on a CPU is most of the time.
PLAIN = {"venice_parameters": {"include_venice_system_prompt": False}}


@pytest.fixture(scope="module")
def tiny(tiny_gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=tiny_gateway.base_url, api_key=ADMIN_KEY, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def coder(coder_gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=coder_gateway.base_url, api_key=ADMIN_KEY, max_retries=0) as client:
        yield client


def ask(client: OpenAI, said: str | list[Any], **fields: Any) -> Any:
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    fields = {"model": "default", "temperature": 0, "max_tokens": 48, **fields}
    return client.chat.completions.create(messages=messages, **fields)


def called(message: Any) -> list[tuple[str, Any]]:
    """(name, arguments) of each call; fails for arguments that are no JSON, or an id that is none."""
    calls = message.tool_calls or []
    assert all(call.type == "function" and call.id for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


# Models.


def test_models_are_listed_as_rows_of_object_model(tiny: OpenAI) -> None:
    page = tiny.models.list()
    rows = list(page)
    assert page.object == "list"
    assert rows[0].id == TINY, "the default comes first"
    assert {row.object for row in rows} == {"model"}
    assert all(isinstance(row.created, int) and row.owned_by == "venice.ai" for row in rows)


def test_a_model_is_retrieved_by_its_id(tiny: OpenAI) -> None:
    row = tiny.models.retrieve(TINY)
    assert (row.id, row.object) == (TINY, "model")


# Chat.


def test_a_chat_is_answered_with_text_and_usage(tiny: OpenAI) -> None:
    answer = ask(tiny, "Write one sentence about a cat.")
    choice = answer.choices[0]
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == TINY
    assert choice.message.role == "assistant"
    assert "cat" in choice.message.content.lower()
    assert choice.finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_path_without_api_answers_too(tiny_gateway: Gateway) -> None:
    with OpenAI(base_url=f"{tiny_gateway.root}/v1", api_key=ADMIN_KEY) as client:
        assert ask(client, "Say hello.", max_tokens=4).choices[0].message.content


def test_a_stream_says_what_the_whole_answer_says(tiny: OpenAI) -> None:
    question = "Name three colours of the rainbow."
    ask(tiny, question)  # From here on the prompt is in the engine's cache, so that both are made alike.
    whole = ask(tiny, question)
    text, finished = "", []
    for chunk in ask(tiny, question, stream=True):
        # No chunk without choices, for nobody asked for one.
        if chunk.choices[0].delta.content:
            text += chunk.choices[0].delta.content
        if chunk.choices[0].finish_reason:
            finished.append((chunk.choices[0].finish_reason, chunk.usage))
    assert text == whole.choices[0].message.content
    assert len(finished) == 1
    reason, usage = finished[0]
    assert reason == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_include_usage_adds_one_last_chunk_without_choices(tiny: OpenAI) -> None:
    chunks = list(ask(tiny, "Say hello.", max_tokens=6, stream=True, stream_options={"include_usage": True}))
    assert [bool(chunk.choices) for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].usage.completion_tokens == 6
    assert chunks[-2].usage == chunks[-1].usage
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {TINY}
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[0].choices[0].delta.role == "assistant"


def test_two_answers_are_made_and_both_are_counted(tiny: OpenAI) -> None:
    answer = ask(tiny, "Tell me a story.", n=2, max_tokens=6, temperature=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content and choice.finish_reason == "length" for choice in answer.choices)
    assert answer.usage.completion_tokens == 12


def test_two_streamed_answers_each_have_their_beginning_and_end(tiny: OpenAI) -> None:
    texts, roles, ends = ["", ""], [0, 0], [0, 0]
    for chunk in ask(tiny, "Tell me a story.", n=2, max_tokens=6, temperature=1, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles[choice.index] += choice.delta.role is not None
            ends[choice.index] += choice.finish_reason is not None
    assert all(texts)
    assert (roles, ends) == ([1, 1], [1, 1])


def test_log_probabilities_come_for_every_token(tiny: OpenAI) -> None:
    answer = ask(tiny, "Say hello.", max_tokens=5, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens == 5
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    for token in tokens:
        likely = [other.logprob for other in token.top_logprobs]
        assert len(likely) == 3
        assert all(before >= after for before, after in pairwise(likely))
        assert token.logprob == likely[0], "at temperature 0 the likeliest is taken"


def test_streamed_log_probabilities_come_with_their_text(tiny: OpenAI) -> None:
    text = tokens = ""
    for chunk in ask(tiny, "Say hello.", max_tokens=5, logprobs=True, stream=True):
        text += chunk.choices[0].delta.content or ""
        if chunk.choices[0].logprobs is not None:
            tokens += "".join(token.token for token in chunk.choices[0].logprobs.content)
    assert text
    assert tokens == text


@pytest.mark.long
def test_the_same_seed_tells_the_same_story(tiny: OpenAI) -> None:
    def story(seed: int) -> str:
        answer = ask(tiny, "Tell me a story.", temperature=1, seed=seed, max_tokens=10)
        return answer.choices[0].message.content

    story(1)  # The prompt is in the engine's cache from here on.
    assert story(7) == story(7)
    assert len({story(seed) for seed in range(1, 5)}) > 1


def test_generation_stops_before_a_stop_sequence(tiny: OpenAI) -> None:
    answer = ask(tiny, "Count from 1 to 9 separated by commas.", stop=["3", "4"])
    assert "1" in answer.choices[0].message.content
    assert "3" not in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_ends_the_answer_with_length(tiny: OpenAI, field: str) -> None:
    limits = {"max_tokens": openai.omit, field: 5}
    answer = ask(tiny, "Count from 1 to 50.", **limits)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


# Tools. Those that ask the larger model stand together: it has most of their prompt in its cache.


def test_auto_calls_the_tool_that_fits(coder: OpenAI) -> None:
    answer = ask(coder, "What's the weather in Paris?", tools=[WEATHER])
    assert called(answer.choices[0].message) == [("get_weather", {"location": "Paris"})]
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_tools_result_comes_back_as_an_answer_in_words(coder: OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "What's the weather in Paris?"}]
    first = ask(coder, messages, tools=[WEATHER])
    message = first.choices[0].message
    (call,) = message.tool_calls
    # As a dump it carries every null that the client knows of: refusal, audio, function_call, annotations …
    messages.append(message.model_dump())
    told = json.dumps({"temperature_c": 17, "sky": "foggy"})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": told})
    second = ask(coder, messages, tools=[WEATHER])
    assert called(second.choices[0].message) == []
    assert "fog" in second.choices[0].message.content.lower()
    assert second.choices[0].finish_reason == "stop"


@pytest.mark.long
def test_required_makes_parallel_calls(coder: OpenAI) -> None:
    asked = "What's the weather in Paris and in London? Call get_weather once for each city."
    answer = ask(coder, asked, tools=[WEATHER], tool_choice="required", max_tokens=160)
    assert called(answer.choices[0].message) == [
        ("get_weather", {"location": "Paris"}),
        ("get_weather", {"location": "London"}),
    ]


@pytest.mark.long
def test_streamed_pieces_of_calls_add_up(coder: OpenAI) -> None:
    asked = "What's the weather in Paris and in London? Call get_weather once for each city."
    calls: dict[int, dict[str, str]] = {}
    reasons = []
    for chunk in ask(coder, asked, tools=[WEATHER], tool_choice="required", max_tokens=160, stream=True):
        pieces = chunk.choices[0].delta.tool_calls or []
        assert len({piece.index for piece in pieces}) == len(pieces), "one piece a call in each chunk"
        for piece in pieces:
            call = calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] += piece.id or ""
            call["name"] += piece.function.name or ""
            call["arguments"] += piece.function.arguments or ""
        reasons.append(chunk.choices[0].finish_reason)
    assert [json.loads(calls[at]["arguments"]) for at in sorted(calls)] == [
        {"location": "Paris"},
        {"location": "London"},
    ]
    assert {call["name"] for call in calls.values()} == {"get_weather"}
    assert len({call["id"] for call in calls.values()}) == 2
    assert reasons[-1] == "tool_calls"
    assert set(reasons[:-1]) == {None}


@pytest.mark.long
def test_auto_answers_in_words_when_no_tool_fits(coder: OpenAI) -> None:
    answer = ask(coder, "Hello! Who are you?", tools=[WEATHER])
    assert called(answer.choices[0].message) == []
    assert answer.choices[0].message.content


@pytest.mark.long
def test_required_calls_a_tool_whatever_the_model_would_say(tiny: OpenAI) -> None:
    tools = [WEATHER, CLOCK]
    answer = ask(
        tiny, "Hello!", tools=tools, tool_choice="required", parallel_tool_calls=False, max_tokens=120
    )
    ((name, arguments),) = called(answer.choices[0].message)
    assert jsonschema_rs.is_valid(_parameters(name), arguments)
    assert answer.choices[0].message.content is None
    assert answer.choices[0].finish_reason == "tool_calls"


@pytest.mark.long
def test_a_named_tool_is_the_one_that_is_called(tiny: OpenAI) -> None:
    named = {"type": "function", "function": {"name": "get_time"}}
    answer = ask(
        tiny, "What's the weather in Paris?", tools=[WEATHER, CLOCK], tool_choice=named, max_tokens=80
    )
    (call,) = called(answer.choices[0].message)
    assert call[0] == "get_time"
    assert jsonschema_rs.is_valid(_parameters("get_time"), call[1])


@pytest.mark.long
def test_none_calls_no_tool(coder: OpenAI) -> None:
    answer = ask(coder, "What's the weather in Paris?", tools=[WEATHER], tool_choice="none")
    assert called(answer.choices[0].message) == []
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")


@pytest.mark.long
def test_a_tool_without_parameters_is_called_with_an_empty_object(tiny: OpenAI) -> None:
    answer = ask(tiny, "What is the server's status?", tools=[STATUS], tool_choice="required", max_tokens=80)
    name, arguments = called(answer.choices[0].message)[0]
    assert (name, arguments) == ("get_status", {})


@pytest.mark.long
def test_parallel_calls_can_be_turned_off(tiny: OpenAI) -> None:
    asked = "What's the weather in Paris and in London? Call get_weather once for each city."
    answer = ask(
        tiny, asked, tools=[WEATHER], tool_choice="required", parallel_tool_calls=False, max_tokens=160
    )
    assert len(called(answer.choices[0].message)) == 1


@pytest.mark.long
def test_the_clients_own_accumulator_understands_streamed_calls(tiny: OpenAI) -> None:
    with tiny.chat.completions.stream(
        model="default",
        messages=[{"role": "user", "content": "What's the weather in Paris?"}],
        tools=[WEATHER],  # pyright: ignore[reportArgumentType]
        tool_choice="required",
        parallel_tool_calls=False,
        temperature=0,
        max_tokens=80,
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    ((name, arguments),) = called(final.choices[0].message)
    assert name == "get_weather"
    assert jsonschema_rs.is_valid(_parameters(name), arguments)


# Answers in a form.


def test_an_answer_fits_the_schema_that_was_given(tiny: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "pet", "strict": True, "schema": PET}}
    answer = ask(tiny, "Invent a pet: a two year old cat named Tom.", response_format=form, max_tokens=120)
    assert answer.choices[0].finish_reason == "stop"
    jsonschema_rs.validate(PET, json.loads(answer.choices[0].message.content))


@pytest.mark.long
def test_a_streamed_answer_fits_its_schema_too(tiny: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "pet", "schema": PET}}
    stream = ask(tiny, "Invent a pet, a dog.", response_format=form, max_tokens=120, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    jsonschema_rs.validate(PET, json.loads(text))


@pytest.mark.long
def test_the_clients_own_parsing_of_a_pydantic_model_works(coder: OpenAI) -> None:
    class Pet(BaseModel):
        name: str
        age: int
        kind: Literal["cat", "dog"]

    answer = coder.chat.completions.parse(
        model="default",
        messages=[{"role": "user", "content": "Invent a pet: a two year old cat named Tom."}],
        response_format=Pet,
        temperature=0,
        max_tokens=80,
    )
    assert answer.choices[0].message.parsed == Pet(name="Tom", age=2, kind="cat")


@pytest.mark.long
def test_json_object_gives_one_bare_object(coder: OpenAI) -> None:
    answer = ask(
        coder,
        "Describe a cat named Tom as a JSON object with the keys name and age.",
        response_format={"type": "json_object"},
        max_tokens=80,
    )
    told = json.loads(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"
    assert told["name"] == "Tom"
    assert "age" in told


# Headers and errors.


def test_headers_name_the_model_that_ran(tiny: OpenAI) -> None:
    raw = tiny.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Hi"}], max_tokens=4
    )
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-venice-model-id"] == TINY == raw.parse().model
    assert raw.headers["x-venice-model-name"] == "SmolLM2 135M Instruct"
    assert raw.headers["x-venice-version"]
    assert raw.headers["cf-ray"]


def test_a_bad_field_is_a_bad_request_that_names_it(tiny: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(tiny, "Hi", temperature=3)
    body = caught.value.response.json()
    assert caught.value.body == body["error"] == "Invalid request parameters"
    assert body["code"] == "INVALID_REQUEST"
    assert body["details"]["temperature"]["_errors"] == ["Number must be less than or equal to 2"]
    assert [issue["path"] for issue in body["issues"]] == [["temperature"]]


def test_an_unknown_field_is_a_bad_request_that_names_it(tiny: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(tiny, "Hi", extra_body={"temprature": 1})
    (issue,) = caught.value.response.json()["issues"]
    assert (issue["code"], issue["keys"]) == ("unrecognized_keys", ["temprature"])


def test_a_wrong_key_is_an_authentication_error(tiny_gateway: Gateway) -> None:
    with (
        OpenAI(base_url=tiny_gateway.base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        ask(client, "Hi")
    assert caught.value.response.json() == {"error": "Authentication failed", "code": "AUTHENTICATION_FAILED"}


def test_an_unknown_model_is_a_not_found_error(tiny: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(tiny, "Hi", model="no-such-model")
    assert caught.value.response.json()["code"] == "MODEL_NOT_FOUND"
    with pytest.raises(openai.NotFoundError):
        tiny.models.retrieve("no-such-model")


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context_is_told_as_openai_tells_it(tiny: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(tiny, "word " * 30_000, stream=stream)
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param == "messages"
    assert "maximum context" in caught.value.message


# Many at once, and clients that leave.


@pytest.mark.long
def test_many_at_once_each_get_their_own_answer(tiny: OpenAI) -> None:
    words = [f"word{number:02d}" for number in range(16)]

    def said(word: str) -> str:
        form = {"type": "json_schema", "json_schema": {"name": "word", "schema": {"const": word}}}
        stream = word in words[::2]
        answer = ask(
            tiny, f"Say {word}.", response_format=form, stream=stream, max_tokens=40, extra_body=PLAIN
        )
        if not stream:
            return answer.choices[0].message.content
        return "".join(chunk.choices[0].delta.content or "" for chunk in answer)

    with ThreadPoolExecutor(len(words)) as threads:
        answers = list(threads.map(said, words))
    assert [json.loads(answer) for answer in answers] == words


def test_clients_that_leave_early_leave_room_for_the_next(tiny: OpenAI) -> None:
    for _ in range(6):  # More than the engine has slots.
        with ask(tiny, "Write a very long story.", stream=True, max_tokens=3000, temperature=1) as stream:
            read = [chunk for _, chunk in zip(range(3), stream, strict=False)]
            assert len(read) == 3
    began = time.monotonic()
    answer = ask(tiny, "Say hello.", max_tokens=4)
    assert answer.choices[0].message.content
    # A single one of those stories takes ten times as long.
    assert time.monotonic() - began < 5


@pytest.mark.anyio
async def test_the_async_client_chats_and_streams(tiny_gateway: Gateway) -> None:
    async with AsyncOpenAI(base_url=tiny_gateway.base_url, api_key=ADMIN_KEY, max_retries=0) as client:
        rows = [row.id async for row in client.models.list()]
        answer = await client.chat.completions.create(
            model=TINY, messages=[{"role": "user", "content": "Say hello."}], max_tokens=6
        )
        stream = await client.chat.completions.create(
            model=TINY, messages=[{"role": "user", "content": "Say hello."}], max_tokens=6, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("no-such-model")
    assert {TINY, CODER} <= set(rows)
    assert answer.choices[0].message.content
    assert text


def _parameters(name: str) -> dict[str, Any]:
    tools = {tool["function"]["name"]: tool["function"] for tool in (WEATHER, CLOCK)}
    return tools[name]["parameters"]

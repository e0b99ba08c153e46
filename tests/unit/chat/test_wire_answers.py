"""Answers, byte for byte in the contract's order."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from fondaco.chat.answer_wire import (
    Choice,
    Chunk,
    ChunkChoice,
    Citation,
    Completion,
    Cost,
    Delta,
    FunctionCall,
    FunctionDelta,
    Message,
    ToolCall,
    ToolCallDelta,
    Usage,
    VeniceParametersEcho,
)

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)


def test_a_whole_answer_has_every_key_in_order() -> None:
    answer = Completion(
        id="chatcmpl-0",
        created=1,
        model="m",
        choices=[Choice(index=0, finish_reason="stop", message=Message(content="hi"))],
        usage=USAGE,
        cost=Cost(usd=Raw(b"0.000000042")),
        venice_parameters=VeniceParametersEcho(),
    )
    assert msgspec.json.encode(answer).decode() == (
        '{"id":"chatcmpl-0","object":"chat.completion","created":1,"model":"m",'
        '"choices":[{"index":0,"finish_reason":"stop","stop_reason":null,"logprobs":null,'
        '"message":{"role":"assistant","content":"hi","reasoning_content":null,"tool_calls":[]}}],'
        '"prompt_logprobs":null,'
        '"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,'
        '"prompt_tokens_details":null,"completion_tokens_details":null},'
        '"cost":{"usd":0.000000042,"diem":0},'
        '"venice_parameters":{"enable_web_search":"off","enable_web_citations":false,'
        '"enable_web_scraping":false,"include_venice_system_prompt":true,'
        '"include_search_results_in_stream":false,"return_search_results_as_documents":false,'
        '"strip_thinking_response":false,"disable_thinking":false,"web_search_citations":[],"enable_e2ee":false}}'
    )


def test_a_call_always_has_arguments() -> None:
    call = ToolCall(id="call_1", function=FunctionCall(name="f"))
    assert (
        msgspec.json.encode(call)
        == b'{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}'
    )


def test_a_delta_has_only_what_is_new() -> None:
    chunk = Chunk(id="c", created=1, model="m", choices=[ChunkChoice(index=0, delta=Delta(content="hi"))])
    assert msgspec.json.encode(chunk) == (
        b'{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
        b'"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null,"logprobs":null}]}'
    )
    later = ToolCallDelta(index=0, function=FunctionDelta(arguments='{"a"'))
    assert msgspec.json.encode(Delta(tool_calls=[later])) == (
        b'{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\""}}]}'
    )


def test_the_usage_chunk_has_no_choices() -> None:
    chunk = Chunk(id="c", created=1, model="m", choices=[], usage=USAGE, cost=Cost(usd=Raw(b"1")))
    assert b'"choices":[],"usage":{"prompt_tokens":1' in msgspec.json.encode(chunk)


def test_citations_have_four_texts_whatever_is_known() -> None:
    assert (
        msgspec.json.encode(Citation(title="t", url="u")) == b'{"title":"t","url":"u","content":"","date":""}'
    )


def test_two_answers_do_not_share_their_lists() -> None:
    first, second = Message(content=None), Message(content=None)
    first.tool_calls.append(ToolCall(id="x", function=FunctionCall(name="f")))
    assert second.tool_calls == []

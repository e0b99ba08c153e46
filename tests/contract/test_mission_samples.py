"""The samples of the vendor's documentation that need only text chat, run as they stand there.

The names in them (`default`, `venice-uncensored`, `zai-org-glm-4.7`) are answered by a model of this machine, and
`model` in the answer says which.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai import OpenAI

from gateways import ADMIN_KEY, CODER, TINY, Gateway

# A fresh machine fetches weights within the first test that needs them.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def client(tiny_gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(api_key=ADMIN_KEY, base_url=tiny_gateway.base_url) as client:
        yield client


def posted(gateway: Gateway, body: str, path: str = "/chat/completions") -> tuple[int, Any, str]:
    """Status, body and content type of a request as curl would make it."""
    root = urlsplit(gateway.root)
    assert root.hostname is not None
    connection = http.client.HTTPConnection(root.hostname, root.port, timeout=120)
    headers = {
        "Authorization": f"Bearer {ADMIN_KEY}",
        "Content-Type": "application/json",
        "User-Agent": "curl/8.5.0",
        "Accept": "*/*",
    }
    try:
        connection.request("POST", f"/api/v1{path}", body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    finally:
        connection.close()


def test_the_curl_sample(coder_gateway: Gateway) -> None:
    status, text, kind = posted(
        coder_gateway, '{"model":"venice-uncensored","messages":[{"role":"user","content":"Hello"}]}'
    )
    answer = json.loads(text)
    assert (status, kind) == (200, "application/json")
    assert answer["model"] == CODER
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.long
def test_the_javascript_sample_without_the_servers_own_prompt(tiny_gateway: Gateway, stream: bool) -> None:
    body: dict[str, Any] = {
        "model": "default",
        "messages": [
            {"role": "system", "content": "Your system prompt"},
            {"role": "user", "content": "Why is the sky blue?"},
        ],
        "venice_parameters": {"include_venice_system_prompt": False},
        # These two are not in the sample: a small model goes on for long.
        "max_tokens": 16,
        "stream": stream,
    }
    status, text, kind = posted(tiny_gateway, json.dumps(body))
    assert status == 200
    if not stream:
        answer = json.loads(text)
        assert answer["model"] == TINY
        assert answer["venice_parameters"]["include_venice_system_prompt"] is False
        without = answer["usage"]["prompt_tokens"]
        del body["venice_parameters"]
        longer = json.loads(posted(tiny_gateway, json.dumps(body))[1])["usage"]["prompt_tokens"]
        assert without + 20 < longer, "only what the caller wrote was read"
        return
    assert kind.startswith("text/event-stream")
    events = text.strip().split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert chunks[0]["venice_parameters"]["include_venice_system_prompt"] is False


def test_the_unguarded_streaming_loop(client: OpenAI) -> None:
    printed = ""
    stream = client.chat.completions.create(
        model="venice-uncensored",
        messages=[{"role": "user", "content": "Write one sentence about a cat."}],
        stream=True,
        # The smallest model may write of cats for minutes.
        max_tokens=60,
    )
    for chunk in stream:
        if chunk.choices[0].delta.content:
            printed += chunk.choices[0].delta.content
    assert "cat" in printed.lower()


def test_the_conversation_over_several_turns(client: OpenAI) -> None:
    messages: list[Any] = [{"role": "system", "content": "You are helpful."}]
    messages.append({"role": "user", "content": "What is Venice AI?"})
    response = client.chat.completions.create(model="venice-uncensored", messages=messages, max_tokens=20)
    messages.append({"role": "assistant", "content": response.choices[0].message.content})
    messages.append({"role": "user", "content": "Tell me more about privacy."})
    again = client.chat.completions.create(model="venice-uncensored", messages=messages, max_tokens=20)
    assert response.model == again.model == TINY
    assert response.choices[0].message.content
    assert again.choices[0].message.content
    assert response.usage is not None
    assert again.usage is not None
    assert again.usage.prompt_tokens > response.usage.prompt_tokens


@pytest.mark.long
def test_the_structured_output_sample(coder_gateway: Gateway) -> None:
    body = {
        "model": "venice-uncensored",
        "messages": [{"role": "user", "content": "List 3 colors"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "color_list",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {"colors": {"type": "array", "items": {"type": "string"}}},
                    "required": ["colors"],
                    "additionalProperties": False,
                },
            },
        },
        "temperature": 0,  # Not in the sample, but a test should not throw dice.
    }
    status, text, _ = posted(coder_gateway, json.dumps(body))
    answer = json.loads(text)
    assert status == 200
    assert answer["model"] == CODER
    told = json.loads(answer["choices"][0]["message"]["content"])
    assert set(told) == {"colors"}
    assert len(told["colors"]) == 3
    assert all(isinstance(colour, str) for colour in told["colors"])


@pytest.mark.long
def test_the_answer_from_a_retrieved_context(coder_gateway: Gateway) -> None:
    context = "The library on Mill Lane opens at half past nine and closes at six."
    with OpenAI(api_key=ADMIN_KEY, base_url=coder_gateway.base_url) as client:
        response = client.chat.completions.create(
            model="venice-uncensored",
            messages=[
                {"role": "system", "content": f"Answer based on this context:\n{context}"},
                {"role": "user", "content": "On which street is the library?"},
            ],
            temperature=0,
            max_tokens=40,
        )
    assert "Mill Lane" in (response.choices[0].message.content or "")


@pytest.mark.long
def test_the_function_calling_sample(coder_gateway: Gateway) -> None:
    body = {
        "model": "zai-org-glm-4.7",
        "messages": [{"role": "user", "content": "What's the weather in SF?"}],
        "tools": [
            {
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
        ],
        "temperature": 0,  # Not in the sample, but a test should not throw dice.
    }
    status, text, _ = posted(coder_gateway, json.dumps(body))
    answer = json.loads(text)
    assert status == 200
    assert answer["model"] == CODER
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"])["location"] in (
        "SF",
        "San Francisco",
        "San Francisco, CA",
    )


def test_venice_parameters_go_in_the_extra_body(client: OpenAI) -> None:
    completion = client.chat.completions.create(
        model="venice-uncensored",
        messages=[{"role": "user", "content": "Hello"}],
        extra_body={"venice_parameters": {"enable_web_search": "off"}},
        max_tokens=8,
    )
    assert completion.choices[0].message.content
    assert completion.model_extra is not None
    assert completion.model_extra["venice_parameters"]["enable_web_search"] == "off"


def test_a_picture_for_a_model_that_does_not_see_is_refused_by_its_place(tiny_gateway: Gateway) -> None:
    body = {
        "model": "mistral-31-24b",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Describe this image"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/image.jpg"}},
                ],
            }
        ],
    }
    status, text, _ = posted(tiny_gateway, json.dumps(body))
    assert status == 400
    assert json.loads(text)["issues"][0]["path"][:4] == ["messages", 0, "content", 1]

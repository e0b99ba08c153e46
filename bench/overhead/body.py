"""The request that is sent: a chat of 2.4 KB, with history, tools and sampling fields, as an agent sends it."""

from __future__ import annotations

import json

MODEL = "mock"
PACED_MODEL = "mock-paced"

_RULES = "You assist the guests of a ferry line. Answer in few words, name the rule, make up no prices. "
_QUESTION = "Question {n}: may I move my crossing to another day once I have checked in, and at what cost? "
_REPLY = (
    "Answer {n}: yes, until two hours before the ship leaves; the fee depends on the class of your ticket. "
)
_FARE_TOOL = {
    "type": "function",
    "function": {
        "name": "get_fare",
        "description": "Look up the fare of a booking",
        "parameters": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "class": {"type": "string", "enum": ["A", "B", "C"]}},
            "required": ["code"],
        },
    },
}


def chat(model: str, *, stream: bool) -> bytes:
    """The body with the nonce's ten digits as zeros: the load tool counts them up (`wire.h`)."""
    messages: list[dict[str, object]] = [{"role": "system", "content": _RULES * 4}]
    for n in range(3):
        messages.append({"role": "user", "content": _QUESTION.format(n=n) * 2})
        messages.append({"role": "assistant", "content": _REPLY.format(n=n) * 2})
    last = ["And what about this one?", "My booking code is 0000000000."]
    messages.append({"role": "user", "content": [{"type": "text", "text": text} for text in last]})
    body: dict[str, object] = {
        "model": model,
        "messages": messages,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_completion_tokens": 512,
        "stop": ["\n\nUser:"],
        "tools": [_FARE_TOOL],
        "tool_choice": "auto",
        "venice_parameters": {"include_venice_system_prompt": False, "enable_web_search": "off"},
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body).encode()

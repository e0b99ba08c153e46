"""Tools for local models that were not taught them: described in the prompt, and constrained by grammar.

The wording of the listing is the one that the Qwen family was trained on; the line after it and the form in which a
tool's result is shown were found by trial on the small default model, which else calls a tool for a greeting and
repeats a call instead of using its result.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fondaco.chat.messages import AssistantMessage, FunctionMessage, ToolCall, ToolMessage
from fondaco.chat.tools import FunctionSpec

MAX_PARALLEL_CALLS = 8

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def listing(functions: list[FunctionSpec]) -> str:
    """What the system prompt says of the functions on offer."""
    lines = "\n".join(
        msgspec.json.encode({"type": "function", "function": function}).decode() for function in functions
    )
    return (
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>\n{lines}\n</tools>\n\n"
        "For each function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\n\n'
        "If none of the functions fits the user's last message, do not write JSON: answer in plain words."
    )


def past_calls(message: AssistantMessage) -> str:
    """An earlier turn of the assistant with its calls as text."""
    parts = [plain_text(message.content)] if message.content else []
    for call in message.tool_calls or ():
        name = msgspec.json.encode(call.function.name).decode()
        arguments = call.function.arguments or "{}"
        parts.append(f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>')
    return "\n".join(parts)


def result(message: ToolMessage | FunctionMessage, names: dict[str, str], *, last: bool) -> str:
    """A tool's result as the user's words. `names` leads from call ids to functions."""
    if isinstance(message, ToolMessage):
        name = names.get(message.tool_call_id) or message.name
    else:
        name = message.name
    told = f"{name or 'The function'} returned:\n{plain_text(message.content)}"
    return f"{told}\n\nAnswer my question in plain words from this result." if last else told


def call_names(calls: list[ToolCall] | None) -> dict[str, str]:
    return {call.id: call.function.name for call in calls or () if call.id}


def plain_text(content: Any) -> str:
    """The text of a message's content, whatever its form."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(
        [getattr(part, "text", None) or getattr(part, "refusal", None) or "" for part in content]
    )


def call_schema(functions: list[FunctionSpec], *, parallel: bool) -> dict[str, Any]:
    """A JSON Schema whose every instance is a list of one or more calls of these functions."""
    return {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_PARALLEL_CALLS if parallel else 1,
        "items": _one_of([_call(function) for function in functions]),
    }


def call_or_answer_schema(functions: list[FunctionSpec], answer: bytes | None) -> dict[str, Any]:
    """One call of these functions, or an answer of the schema that the caller asked for (None: any object)."""
    schema: dict[str, Any] = msgspec.json.decode(answer) if answer else {"type": "object"}
    # References such as #/$defs/x are from the root, which the answer's schema no longer is.
    moved = {key: schema.pop(key) for key in ("$defs", "definitions") if key in schema}
    return {**moved, "anyOf": [*(_call(function) for function in functions), schema]}


def _call(function: FunctionSpec) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "name": {"const": function.name},
            "arguments": function.parameters or _NO_PARAMETERS,
        },
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _one_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

"""Tools, as a request offers and chooses them (CONTRACT 3.1).

Three spellings are in use: nested (`{type, function: {name, …}}`), flat (`{type, name, parameters}`) and Anthropic's
(`{name, input_schema}`). One struct reads them all; `nested` makes one form of them before anybody looks.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from msgspec import Meta, Raw

from fondaco.content import Sealed
from fondaco.errors import InvalidRequest, PathPart

MAX_SCHEMA_BYTES: Final = 1 << 20
MAX_SCHEMA_DEPTH: Final = 64
"""Engines walk schemas recursively, in C++ and on the stack."""

VENDOR_TOOLS: Final = frozenset({"web_search", "x_search"})

Schema = dict[str, Raw]
"""A JSON Schema, decoded no deeper than its first level: it is only passed on."""

FunctionName = Annotated[str, Meta(min_length=1, max_length=256)]


class FunctionSpec(Sealed, kw_only=True, omit_defaults=True, gc=False):
    """A function the model may call. `parameters` describes its arguments."""

    name: FunctionName
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Sealed, kw_only=True, omit_defaults=True, gc=False):
    """What a request offers. Once `nested`, `function` is there unless `type` names one of the vendor's own tools."""

    type: str | None = None
    function: FunctionSpec | None = None
    id: str | None = None
    name: FunctionName | None = None
    description: str | None = None
    parameters: Schema | None = None
    input_schema: Schema | None = None
    strict: bool | None = None


class ChosenFunction(Sealed, kw_only=True, gc=False):
    name: FunctionName


class NamedToolChoice(Sealed, kw_only=True, omit_defaults=True, gc=False):
    """`{type: "function", function: {name}}`; the flat `{type, name}` is understood too."""

    type: str | None = None
    function: ChosenFunction | None = None
    name: FunctionName | None = None


ToolChoice = Literal["auto", "none", "required"] | NamedToolChoice
LegacyChoice = Literal["auto", "none"] | ChosenFunction


def nested(tools: list[Tool]) -> list[Tool]:
    """All tools in the nested form. Raises InvalidRequest for one that names no function."""
    return [_nested(tool, index) for index, tool in enumerate(tools)]


def from_functions(functions: list[FunctionSpec]) -> list[Tool]:
    return [Tool(type="function", function=function) for function in functions]


def chosen(choice: ToolChoice | LegacyChoice, tools: list[Tool], field: str) -> ToolChoice:
    """`choice` in its nested form. Raises InvalidRequest at `field` if it names what is not offered."""
    if isinstance(choice, str):
        if choice == "required" and not tools:
            raise InvalidRequest.at(field, message="'required' needs tools to choose from")
        return choice
    name = choice.name
    if isinstance(choice, NamedToolChoice):
        if choice.type in ("auto", "none"):
            return choice.type
        if choice.type in ("any", "required"):
            return chosen("required", tools, field)
        if choice.function is not None:
            name = choice.function.name
    if name is None or name not in {tool.function.name for tool in tools if tool.function is not None}:
        raise InvalidRequest.at(field, message="Must name a function that is offered in 'tools'")
    return NamedToolChoice(type="function", function=ChosenFunction(name=name))


def check_schema(schema: Schema, *path: PathPart) -> None:
    """Raises InvalidRequest at `path` when `schema` is larger or deeper than an engine should be handed."""
    text = b"".join(schema.values())
    if len(text) > MAX_SCHEMA_BYTES:
        message = f"Schema must not be larger than {MAX_SCHEMA_BYTES} bytes"
        raise InvalidRequest.at(*path, message=message, code="too_big")
    # Most schemas have fewer brackets than may stand inside one another.
    if text.count(b"{") + text.count(b"[") >= MAX_SCHEMA_DEPTH and _depth_exceeds(text, MAX_SCHEMA_DEPTH - 1):
        message = f"Schema must not be nested deeper than {MAX_SCHEMA_DEPTH} levels"
        raise InvalidRequest.at(*path, message=message, code="too_big")


def _nested(tool: Tool, index: int) -> Tool:
    function = tool.function
    if function is not None:
        if function.parameters is not None:
            check_schema(function.parameters, "tools", index, "function", "parameters")
        if (
            tool.type == "function"
            and tool.name is tool.description is tool.parameters is tool.input_schema is None
        ):
            return tool
        return Tool(type="function", function=function, id=tool.id)
    if tool.type in VENDOR_TOOLS:
        return Tool(type=tool.type)
    if tool.name is None or tool.type not in (None, "function", "custom"):
        message = "Expected a function with a name, or type 'web_search' | 'x_search'"
        raise InvalidRequest.at("tools", index, message=message)
    key, schema = "parameters", tool.parameters
    if schema is None:
        key, schema = "input_schema", tool.input_schema
    if schema is not None:
        check_schema(schema, "tools", index, key)
    flat = FunctionSpec(name=tool.name, description=tool.description, parameters=schema, strict=tool.strict)
    return Tool(type="function", function=flat)


_string = re.compile(rb'"(?:[^"\\]++|(?:\\.)++)*+"', re.DOTALL)
_brackets = re.compile(rb"[\[\]{}]")


def _depth_exceeds(text: bytes, limit: int) -> bool:
    """Whether more than `limit` objects and arrays stand inside one another in `text`, JSON values in a row."""
    depth = 0
    for bracket in _brackets.findall(_string.sub(b"", text)):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            return True
    return False

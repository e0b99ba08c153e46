"""The body of POST /chat/completions, with every field and range of CONTRACT 3.1 and 3.2.

Unknown keys are refused at the top and dropped further in; a null stands for an absent field wherever one is
optional. What is only passed on stays `Raw`, bytes of the caller's own body.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from fondaco.chat.messages import MAX_MESSAGES, ChatMessage, one_spelling
from fondaco.chat.spelling import respelled
from fondaco.chat.tools import (
    FunctionSpec,
    LegacyChoice,
    Schema,
    Tool,
    ToolChoice,
    check_schema,
    chosen,
    from_functions,
    nested,
)
from fondaco.content import Sealed
from fondaco.errors import InvalidRequest

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high", "auto"]
WebSearch = Literal["off", "on", "auto"]

INT32_MAX = 2**31 - 1
"""Engines keep such numbers in 32 bits; larger ones are refused here rather than wrapped there."""

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Probability = Annotated[float, Meta(ge=0, le=1)]
TokenCount = Annotated[int, Meta(ge=-INT32_MAX, le=INT32_MAX)]


class StreamOptions(Sealed, kw_only=True, gc=False):
    include_usage: bool | None = None


class Reasoning(Sealed, kw_only=True, gc=False):
    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    enabled: bool | None = None


class TextOptions(Sealed, kw_only=True, gc=False):
    verbosity: Verbosity | None = None


class Fallback(Sealed, kw_only=True, gc=False):
    model: str


class ResponseFormat(Sealed, tag_field="type", kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the answer's text must be."""


class TextFormat(ResponseFormat, tag="text"):
    pass


class JsonObjectFormat(ResponseFormat, tag="json_object"):
    pass


class JsonSchemaFormat(ResponseFormat, tag="json_schema"):
    """`json_schema` is `{name, strict, schema}`, or the schema itself."""

    json_schema: Schema

    @property
    def schema(self) -> bytes:
        """The JSON Schema, as JSON text."""
        inner = self.json_schema.get("schema")
        if inner is not None and bytes(inner).lstrip()[:1] == b"{":
            return bytes(inner)
        return msgspec.json.encode(self.json_schema)


class VeniceParameters(Sealed, kw_only=True, omit_defaults=True, gc=False):
    """What this API adds to OpenAI's. Null or absent means the default."""

    character_slug: Annotated[
        Annotated[str, Meta(max_length=200)] | None,
        Meta(description="Answer as this character, known by its slug."),
    ] = None
    strip_thinking_response: Annotated[
        bool | None, Meta(description="Leave `<think>` blocks and reasoning_content out of the answer.")
    ] = None
    disable_thinking: Annotated[
        bool | None, Meta(description="Turn thinking off where the model allows it, and strip it.")
    ] = None
    enable_web_search: Annotated[
        WebSearch | None, Meta(description="`on` always searches, `auto` lets the model decide.")
    ] = None
    enable_web_scraping: Annotated[
        bool | None, Meta(description="Read the pages whose URLs are in the latest user message.")
    ] = None
    enable_web_citations: Annotated[bool | None, Meta(description="Ask the model to cite as `^1^`.")] = None
    include_venice_system_prompt: Annotated[
        bool | None, Meta(description="Put the server's own system prompt first. Default true.")
    ] = None
    include_search_results_in_stream: bool | None = None
    return_search_results_as_documents: bool | None = None
    enable_x_search: bool | None = None
    enable_e2ee: bool | None = None


class ChatRequest(Sealed, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A chat to be completed."""

    respelled = staticmethod(respelled)
    """Its other spellings, tried when this one does not fit (`http/validation.py`)."""

    model: Annotated[
        str, Meta(description="Model id, trait or compatibility name, with optional `:key=value` suffix.")
    ]
    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]

    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=0, le=INT32_MAX)] | None = None
    min_p: Probability | None = None
    min_temp: Temperature | None = None
    max_temp: Temperature | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0)] | None = None
    seed: Annotated[int, Meta(gt=0, le=2**63 - 1)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None

    max_completion_tokens: TokenCount | None = None
    max_tokens: Annotated[
        TokenCount | None,
        Meta(description="Older name of max_completion_tokens. Ignored at 0 or less, or if both are given."),
    ] = None
    n: Annotated[int, Meta(ge=1, le=128, description="Answers to make; each is paid.")] | None = None
    stop: str | Annotated[list[str], Meta(min_length=1, max_length=4)] | None = None
    stop_token_ids: (
        Annotated[list[Annotated[int, Meta(ge=0, le=INT32_MAX)]], Meta(max_length=4096)] | None
    ) = None

    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=128)] | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    response_format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None = None
    tools: Annotated[list[Tool], Meta(max_length=4096)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: (
        Annotated[list[FunctionSpec], Meta(max_length=4096, description="Older form of tools.")] | None
    ) = None
    function_call: LegacyChoice | None = None

    reasoning_effort: Annotated[Effort | None, Meta(description="Wins over reasoning.effort.")] = None
    reasoning: Reasoning | None = None
    verbosity: Verbosity | None = None
    text: TextOptions | None = None

    venice_parameters: VeniceParameters | None = None

    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["default", "extended", "24h"] | None = None
    fallbacks: Annotated[list[Fallback], Meta(max_length=10)] | None = None
    anon_user_id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=128,
                pattern=r"^(?!.*\|\|)[ -~]+$(?!\n)",
                description="1 to 128 printable ASCII characters without `||`.",
            ),
        ]
        | None
    ) = None

    user: Annotated[str | None, Meta(description="Accepted and ignored.")] = None
    store: Annotated[bool | None, Meta(description="Accepted and ignored.")] = None
    metadata: Annotated[dict[str, Raw] | None, Meta(description="Accepted and ignored.")] = None
    include: Annotated[list[str] | None, Meta(description="Accepted and ignored.")] = None
    service_tier: Annotated[str | None, Meta(description="Accepted and ignored.")] = None
    safety_identifier: Annotated[str | None, Meta(description="Accepted and ignored.")] = None
    prediction: Annotated[dict[str, Raw] | None, Meta(description="Accepted and ignored.")] = None
    modalities: Annotated[list[str] | None, Meta(description="Accepted and ignored.")] = None
    audio: Annotated[dict[str, Raw] | None, Meta(description="Accepted and ignored.")] = None
    web_search_options: Annotated[dict[str, Raw] | None, Meta(description="Accepted and ignored.")] = None

    @property
    def completion_limit(self) -> int | None:
        """The caller's own bound on the answer in tokens, if there is one."""
        asked = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return asked if asked is not None and asked > 0 else None

    @property
    def stops(self) -> list[str]:
        if self.stop is None:
            return []
        return [stop for stop in ([self.stop] if isinstance(self.stop, str) else self.stop) if stop]

    @property
    def effort(self) -> Effort | None:
        if self.reasoning_effort is not None:
            return self.reasoning_effort
        return self.reasoning.effort if self.reasoning is not None else None

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream is to end with the extra `choices: []` chunk."""
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def offers_search(self) -> bool:
        """Whether the vendor's own tool for it is among the tools."""
        return self.tools is not None and any(tool.type == "web_search" for tool in self.tools)

    @property
    def demands_call(self) -> bool:
        """Whether the answer must be a call of one of the caller's functions."""
        return self.tool_choice not in (None, "auto", "none") and bool(self.offered_functions)

    @property
    def offered_functions(self) -> list[FunctionSpec]:
        return [tool.function for tool in self.tools or () if tool.function is not None]


def normalised(request: ChatRequest) -> ChatRequest:
    """The same request, changed in place, with one spelling for whatever has several.

    Then `tools` are nested or None, `tool_choice` is one of the three words or nested, `functions` and
    `function_call` are None, and the messages are `one_spelling`. Raises InvalidRequest for what only shows here.
    """
    tools = nested(request.tools or from_functions(request.functions or []))
    request.tools = tools or None
    if request.tool_choice is not None:
        request.tool_choice = chosen(request.tool_choice, tools, "tool_choice")
    elif request.function_call is not None:
        request.tool_choice = chosen(request.function_call, tools, "function_call")
    request.functions = request.function_call = None
    if request.response_format is not None and isinstance(request.response_format, JsonSchemaFormat):
        check_schema(request.response_format.json_schema, "response_format", "json_schema")
    request.messages = one_spelling(request.messages)
    if not request.messages:
        raise InvalidRequest.at("messages", message="All messages are empty", code="too_small")
    return request

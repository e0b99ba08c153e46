"""What a chat is answered with: whole (CONTRACT 3.7) and in chunks (3.8).

Written exactly in the contract's order, with nulls and empty lists where clients look for them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Raw, UnsetType, field

from fondaco.content import Sealed

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
Logprobs = Annotated[Raw, Meta(extra_json_schema={"type": ["object", "null"]})]
Amount = Annotated[Raw, Meta(extra_json_schema={"type": "number", "minimum": 0})]

_NULL: Final = Raw(b"null")
_ZERO: Final = Raw(b"0")


class FunctionCall(Sealed, kw_only=True, gc=False):
    """`arguments` is JSON in a string, and always there."""

    name: str
    arguments: str = "{}"


class ToolCall(Sealed, kw_only=True, gc=False):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Sealed, kw_only=True, gc=False):
    role: Literal["assistant"] = "assistant"
    content: str | None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])


class Choice(Sealed, kw_only=True, gc=False):
    index: int
    finish_reason: FinishReason
    stop_reason: str | None = None
    logprobs: Logprobs = field(default_factory=lambda: _NULL)
    message: Message


class PromptTokensDetails(Sealed, kw_only=True, gc=False):
    cached_tokens: int = 0
    cache_creation_input_tokens: int | UnsetType = UNSET


class CompletionTokensDetails(Sealed, kw_only=True, gc=False):
    reasoning_tokens: int = 0


class Usage(Sealed, kw_only=True, gc=False):
    """Details are null where the engine does not tell them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class Cost(Sealed, kw_only=True, gc=False):
    """What the request cost. Digits, not floats: amounts are exact to the nano-dollar."""

    usd: Amount = field(default_factory=lambda: _ZERO)
    diem: Amount = field(default_factory=lambda: _ZERO)


class Citation(Sealed, kw_only=True, gc=False):
    title: str
    url: str
    content: str = ""
    date: str = ""
    """`YYYY-MM-DD`, or empty."""


class VeniceParametersEcho(Sealed, kw_only=True, gc=False):
    """The parameters that were in force, defaults and suffixes included."""

    enable_web_search: Literal["off", "on", "auto"] = "off"
    enable_web_citations: bool = False
    enable_web_scraping: bool = False
    include_venice_system_prompt: bool = True
    include_search_results_in_stream: bool = False
    return_search_results_as_documents: bool = False
    strip_thinking_response: bool = False
    disable_thinking: bool = False
    character_slug: str | UnsetType = UNSET
    web_search_citations: list[Citation] = field(default_factory=list[Citation])
    web_search_error: str | UnsetType = UNSET
    """What was asked for and not found, and why."""
    enable_e2ee: bool = False


class Completion(Sealed, kw_only=True, gc=False):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    prompt_logprobs: None = None
    usage: Usage
    cost: Cost
    venice_parameters: VeniceParametersEcho | Raw


class FunctionDelta(Sealed, kw_only=True, gc=False):
    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Sealed, kw_only=True, gc=False):
    """`id`, `type` and the name stand in the first piece of a call; `arguments` grows over all of them."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class Delta(Sealed, kw_only=True, gc=False):
    """Only what is new: absent keys are left out."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType | None = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Sealed, kw_only=True, gc=False):
    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    stop_reason: str | UnsetType | None = UNSET
    logprobs: Logprobs = field(default_factory=lambda: _NULL)


class Chunk(Sealed, kw_only=True, gc=False):
    """One event of a stream. Usage, cost and parameters come with those that have them."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType = UNSET
    cost: Cost | UnsetType = UNSET
    venice_parameters: VeniceParametersEcho | UnsetType = UNSET

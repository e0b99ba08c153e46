"""The OpenAI wire as engines speak it: what we send them, and a lenient reading of what they answer.

Answers are read leniently (unknown keys dropped, everything optional), since each server has its own habits.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from fondaco.content import Sealed

# A Raw field is empty where its key is absent; a union of Raw and None is not possible.
NOTHING = (b"", b"null")


class EngineFunction(Sealed, omit_defaults=True):
    name: str | None = None
    arguments: Raw = Raw()
    """JSON text as a string; some servers send the object itself."""

    def arguments_text(self) -> str | None:
        raw = bytes(self.arguments)
        if raw.startswith(b'"'):
            return msgspec.json.decode(raw, type=str)
        return None if raw in NOTHING else raw.decode()


class EngineToolCall(Sealed, omit_defaults=True):
    index: int | None = None
    id: str | None = None
    function: EngineFunction | None = None


class EngineDelta(Sealed, omit_defaults=True, gc=False):
    """What one choice says next; a whole message is the same with everything in it."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[EngineToolCall] | None = None
    refusal: str | None = None

    def thought(self) -> str | None:
        """Reasoning text, under either of the names in use."""
        return self.reasoning_content or self.reasoning


class EngineChoice(Sealed, gc=False):
    index: int = 0
    delta: EngineDelta | None = None
    message: EngineDelta | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    logprobs: Raw = Raw()


class EnginePromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class EngineCompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class EngineUsage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: EnginePromptDetails | None = None
    completion_tokens_details: EngineCompletionDetails | None = None


class EngineAnswer(Sealed, gc=False):
    """A streamed chunk (choices carry `delta`) or a whole answer (choices carry `message`)."""

    choices: list[EngineChoice] = msgspec.field(default_factory=list[EngineChoice])
    usage: EngineUsage | None = None
    error: Raw = Raw()


class EngineRequest(Sealed, omit_defaults=True, gc=False):
    """The body of an engine's `/v1/chat/completions`. UNSET fields are not sent."""

    messages: list[Any]
    model: str | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    stream_options: dict[str, bool] | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    min_temp: float | UnsetType = UNSET
    max_temp: float | UnsetType = UNSET
    dynatemp_range: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    repetition_penalty: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    n: int | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stop: list[str] | UnsetType = UNSET
    stop_token_ids: list[int] | UnsetType = UNSET
    logit_bias: Raw | UnsetType = UNSET
    logprobs: bool | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    response_format: Any = UNSET
    tools: Any = UNSET
    tool_choice: Any = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET
    chat_template_kwargs: dict[str, bool] | UnsetType = UNSET
    cache_prompt: bool | UnsetType = UNSET
    id_slot: int | UnsetType = UNSET

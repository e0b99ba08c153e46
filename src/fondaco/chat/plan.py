"""How one request is put to one engine: its body, and who reads what comes back."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from fondaco.chat import tool_prompt
from fondaco.chat.gates import chosen_name
from fondaco.chat.messages import ImagePart, UserMessage
from fondaco.chat.options import Options
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.thinking import Show, Thinking
from fondaco.chat.tool_calls import CallReader, ForcedCalls, NativeCalls, ProseCalls
from fondaco.chat.tools import FunctionSpec
from fondaco.chat.wire import ChatRequest, JsonObjectFormat, JsonSchemaFormat
from fondaco.models.registry import Resolved
from fondaco.models.serving import LocalServing, RemoteServing
from fondaco.upstream.seats import Seat
from fondaco.upstream.wire import EngineRequest

_TOKENS_PER_MESSAGE = 16
_TOKENS_PER_PICTURE = 4096
_JSON = {"type": "json_object"}


class Plan:
    """The request as the engine gets it, less its seat, and the readers of its answer."""

    __slots__ = ("_body", "_shown", "readers")

    def __init__(
        self,
        body: EngineRequest,
        thinking: Thinking | None,
        calls: CallReader | None,
        shown: tuple[Any, ...] = (),
    ) -> None:
        """`shown` is what the engine writes into the prompt beside the messages."""
        self._body = body
        self._shown = shown
        readers: tuple[Thinking | CallReader, ...] = () if thinking is None else (thinking,)
        self.readers = readers if calls is None else (*readers, calls)

    @property
    def completion_limit(self) -> int | None:
        """The most tokens that one choice may have."""
        body = self._body
        for limit in (body.max_tokens, body.max_completion_tokens):
            if isinstance(limit, int):
                return limit
        return None

    def cap(self, tokens: int) -> None:
        """No choice may have more tokens than these."""
        if self._body.max_completion_tokens is UNSET:
            self._body.max_tokens = tokens
        else:
            self._body.max_completion_tokens = tokens

    @property
    def prompt_bound(self) -> int:
        """More tokens than the prompt can have: each holds a byte at least, and templates add a few a message.

        It must not be too low: requests that outgrow the context they share at a local engine all fail together.
        """
        size = pictures = 0
        for message in self._body.messages:
            if type(message) is UserMessage and type(message.content) is list:
                shown = [part for part in message.content if type(part) is ImagePart]
                pictures += len(shown)
                size += sum(len(part.image_url.url) for part in shown)
        text = len(msgspec.json.encode(self._body.messages)) - size
        text += sum(len(msgspec.json.encode(shown)) for shown in self._shown if shown is not UNSET)
        return text + _TOKENS_PER_MESSAGE * len(self._body.messages) + _TOKENS_PER_PICTURE * pictures

    def body(self, seat: Seat) -> EngineRequest:
        """The body for this seat. Local engines are always asked to stream."""
        body = self._body
        if seat.local:
            body.id_slot = UNSET if seat.slot is None else seat.slot
            body.cache_prompt = UNSET if seat.cache_prompt is None else seat.cache_prompt
            body.stream = True
        if seat.upstream_model is not None:
            body.model = seat.upstream_model
        if body.stream is True:
            body.stream_options = {"include_usage": True}
        return body


def make(
    request: ChatRequest,
    messages: list[Any],
    odd: list[int],
    resolved: Resolved,
    options: Options,
    prompt: PromptBuilder,
) -> Plan:
    """`messages` are the request's, with their media prepared; `odd` says which of them are `unusual`."""
    serving = resolved.served.serving
    if type(serving) is LocalServing:
        return _local(request, messages, odd, resolved, options, prompt, serving)
    return _remote(request, messages, odd, resolved, options, prompt, serving)


def _local(
    request: ChatRequest,
    messages: list[Any],
    odd: list[int],
    resolved: Resolved,
    options: Options,
    prompt: PromptBuilder,
    serving: LocalServing,
) -> Plan:
    functions = [] if request.tool_choice == "none" else request.offered_functions
    named = chosen_name(request)
    forced = bool(functions) and (named is not None or request.tool_choice == "required")
    parallel = request.parallel_tool_calls is not False
    # The models of the catalogue are small and were not taught tools well; a file of the user's may know better,
    # and llama.cpp then reads its own form of calls.
    prompted = forced or not serving.own
    history = any(getattr(message, "tool_calls", None) for message in messages)
    own_prompt = prompt.own_prompt(resolved.model, options)
    if prompted:
        listed = functions if functions or history else None
        built = prompt.build(messages, odd, own_prompt=own_prompt, listed_tools=listed)
    else:
        built = prompt.build(messages, odd, own_prompt=own_prompt)
    body = _sampling(request, built)
    limit = request.completion_limit
    most = resolved.model.max_completion_tokens
    body.max_tokens = min(limit, most) if limit else most
    body.repeat_penalty = _given(request.repetition_penalty)
    # What `/models` says a model's defaults are, the engine must be told: it has its own.
    if request.temperature is None:
        body.temperature = resolved.model.temperature
    if request.top_p is None:
        body.top_p = resolved.model.top_p
    _dynamic_temperature(request, body)
    calls: CallReader | None = None
    if forced:
        chosen = [function for function in functions if named in (None, function.name)]
        body.response_format = _schema(tool_prompt.call_schema(chosen, parallel=parallel and named is None))
        calls = ForcedCalls()
    elif functions:
        calls = ProseCalls([function.name for function in functions], parallel=parallel)
        if not prompted:
            body.tools = [{"type": "function", "function": function} for function in functions]
            body.parallel_tool_calls = parallel
    if not forced and (answer := _answer_format(request)) is not None:
        body.response_format = answer
        if functions:
            body.tools = UNSET
            body.response_format = _either(functions, request)
    if options.disable_thinking or request.effort == "none":
        body.chat_template_kwargs = {"enable_thinking": False}
    thinking = _thinking(resolved, options, prefilled=False)
    return Plan(body, thinking, calls, shown=(body.tools,))


def _remote(
    request: ChatRequest,
    messages: list[Any],
    odd: list[int],
    resolved: Resolved,
    options: Options,
    prompt: PromptBuilder,
    serving: RemoteServing,
) -> Plan:
    binding = serving.binding
    model = resolved.model
    built = prompt.build(messages, odd, own_prompt=prompt.own_prompt(model, options))
    body = _sampling(request, built)
    if request.stream:
        body.stream = True
    limit = request.completion_limit
    if limit is not None:
        if resolved.stand_in and model.max_completion_tokens:
            limit = min(limit, model.max_completion_tokens)
        if request.max_completion_tokens is not None:
            body.max_completion_tokens = limit
        else:
            body.max_tokens = limit
    if request.repetition_penalty is not None:
        body.repetition_penalty = request.repetition_penalty
    if request.min_temp is not None:
        body.min_temp = request.min_temp
    if request.max_temp is not None:
        body.max_temp = request.max_temp
    if request.stop_token_ids is not None:
        body.stop_token_ids = request.stop_token_ids
    calls: CallReader | None = None
    if request.tools:
        # Already in OpenAI's form; the vendor's own tools are not for other servers.
        body.tools = [tool for tool in request.tools if tool.function is not None] or UNSET
        if body.tools is not UNSET:
            if request.tool_choice is not None:
                body.tool_choice = request.tool_choice
            if request.parallel_tool_calls is not None:
                body.parallel_tool_calls = request.parallel_tool_calls
        calls = NativeCalls()
    if (answer := _answer_format(request)) is not None:
        body.response_format = answer
    quiet = options.disable_thinking or request.effort == "none"
    if binding.thinking_switch == "chat_template_kwargs" and quiet:
        body.chat_template_kwargs = {"enable_thinking": False}
    elif binding.thinking_switch == "reasoning_effort" and (quiet or request.effort):
        body.reasoning_effort = "none" if quiet else _given(request.effort)
    elif model.capabilities.reasoning and request.effort and not quiet:
        body.reasoning_effort = request.effort
    thinking = _thinking(resolved, options, prefilled=binding.think_prefilled)
    return Plan(body, thinking, calls, shown=(body.tools, body.response_format))


def _sampling(request: ChatRequest, messages: list[Any]) -> EngineRequest:
    """What every engine understands alike; only what the caller said is sent."""
    body = EngineRequest(messages=messages)
    if request.temperature is not None:
        body.temperature = request.temperature
    if request.top_p is not None:
        body.top_p = request.top_p
    if request.top_k is not None:
        body.top_k = request.top_k
    if request.min_p is not None:
        body.min_p = request.min_p
    if request.frequency_penalty is not None:
        body.frequency_penalty = request.frequency_penalty
    if request.presence_penalty is not None:
        body.presence_penalty = request.presence_penalty
    if request.seed is not None:
        body.seed = request.seed
    if request.n is not None and request.n > 1:
        body.n = request.n
    if request.stop is not None:
        body.stop = request.stops or UNSET
    if request.logit_bias:
        body.logit_bias = msgspec.Raw(msgspec.json.encode(request.logit_bias))
    if request.logprobs or request.top_logprobs:
        body.logprobs = True
    if request.top_logprobs is not None and body.logprobs is True:
        body.top_logprobs = request.top_logprobs
    return body


def _given(value: Any) -> Any:
    return UNSET if value is None else value


def _dynamic_temperature(request: ChatRequest, body: EngineRequest) -> None:
    """llama.cpp takes a middle and a range instead of two ends."""
    low, high = request.min_temp, request.max_temp
    if low is None and high is None:
        return
    centre = request.temperature if request.temperature is not None else 1.0
    low = low if low is not None else min(centre, high if high is not None else centre)
    high = max(high if high is not None else centre, low)
    body.temperature = (low + high) / 2
    body.dynatemp_range = (high - low) / 2


def _answer_format(request: ChatRequest) -> Any:
    """`response_format` in the form that all engines take; None for free text."""
    asked = request.response_format
    if asked is None:
        return None
    if isinstance(asked, JsonObjectFormat):
        return _JSON
    if isinstance(asked, JsonSchemaFormat):
        name = asked.json_schema.get("name")
        made: dict[str, Any] = {
            "name": name if name is not None else "answer",
            "schema": msgspec.Raw(asked.schema),
        }
        if (strict := asked.json_schema.get("strict")) is not None:
            made["strict"] = strict
        return {"type": "json_schema", "json_schema": made}
    return None


def _either(functions: list[FunctionSpec], request: ChatRequest) -> Any:
    """A local engine's grammar for an answer in the caller's format that may as well be a call."""
    asked = request.response_format
    answer = asked.schema if isinstance(asked, JsonSchemaFormat) else None
    return _schema(tool_prompt.call_or_answer_schema(functions, answer))


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "calls", "schema": schema}}


def _thinking(resolved: Resolved, options: Options, *, prefilled: bool) -> Thinking | None:
    show: Show = "tags" if resolved.model.think_tags else "field"
    if options.strip_thinking_response or options.disable_thinking:
        show = "nothing"
    return Thinking(show, prefilled=prefilled)

"""Which requests a model can take at all: refused here, with the field named, before anything is spent."""

from __future__ import annotations

from fondaco.chat.media_parts import refusals
from fondaco.chat.wire import ChatRequest, TextFormat
from fondaco.errors import InvalidRequest, Issue
from fondaco.models.model import Model
from fondaco.models.registry import Resolved


def check(request: ChatRequest, resolved: Resolved, *, media: bool) -> None:
    """Raises InvalidRequest with every reason why this model cannot take this request."""
    model = resolved.model
    able = model.capabilities
    issues: list[Issue] = []
    if not able.functions:
        # Only what asks for something counts: clients send `tools: []` and `tool_choice: "none"` out of habit.
        if request.tools or request.functions:
            issues.append(_lacking("tools"))
        if request.tool_choice not in (None, "none", "auto"):
            issues.append(_lacking("tool_choice"))
        if request.parallel_tool_calls and request.tools:
            issues.append(_lacking("parallel_tool_calls"))
    if (
        not able.response_schema
        and request.response_format is not None
        and type(request.response_format) is not TextFormat
    ):
        issues.append(_lacking("response_format"))
    if not able.logprobs and (request.logprobs or request.top_logprobs):
        issues.append(_lacking("logprobs" if request.logprobs else "top_logprobs"))
    if media:
        issues += refusals(request.messages, able)
    issues += _too_long(request, model, resolved.stand_in)
    if issues:
        raise InvalidRequest(issues)


def _lacking(field: str) -> Issue:
    return Issue("custom", (field,), f"{field} is not supported by this model")


def chosen_name(request: ChatRequest) -> str | None:
    """The function that `tool_choice` names, if it names one."""
    choice = request.tool_choice
    if choice is None or isinstance(choice, str) or choice.function is None:
        return None
    return choice.function.name


def _too_long(request: ChatRequest, model: Model, stand_in: bool) -> list[Issue]:
    """A limit above the model's own is refused; for a stand-in, whose limit the caller cannot know, it is lowered."""
    limit = request.completion_limit
    if limit is None or stand_in or not model.max_completion_tokens or limit <= model.max_completion_tokens:
        return []
    field = "max_completion_tokens" if request.max_completion_tokens is not None else "max_tokens"
    return [
        Issue(
            "too_big",
            (field,),
            f"{field} ({limit}) exceeds the maximum allowed for model '{model.id}' ({model.max_completion_tokens})",
        )
    ]

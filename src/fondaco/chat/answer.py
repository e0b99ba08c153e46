"""An answer's events folded into the one body of a request that does not stream (CONTRACT 3.7)."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Raw

from fondaco.chat.answer_wire import (
    Choice,
    Completion,
    FinishReason,
    FunctionCall,
    Message,
    ToolCall,
    VeniceParametersEcho,
)
from fondaco.chat.options import Options
from fondaco.chat.underway import ChatAnswer
from fondaco.content import Sealed
from fondaco.ids import tool_call_id
from fondaco.upstream.chat_stream import Run
from fondaco.upstream.wire import NOTHING, EngineChoice

_encoder = msgspec.json.Encoder()
_NO_LOGPROBS = Raw(b"null")

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


async def fold(answer: ChatAnswer) -> bytes:
    """The whole answer as JSON, paid for. Takes all events and closes them."""
    spending = answer.spending
    try:
        try:
            if (whole := answer.whole) is not None:
                choices = [_choice(choice) for choice in whole.choices]
            else:
                choices = await _gathered(answer)
        finally:
            await answer.aclose()  # which may wait, and so be cancelled too
    except Exception:
        spending.void()
        raise
    except BaseException:
        spending.leave(answer.tally.so_far())
        raise
    usage = answer.tally.usage()
    return _encoder.encode(
        Completion(
            id=answer.id,
            created=answer.created,
            model=answer.model,
            choices=choices,
            usage=usage,
            cost=await spending.settle(usage),
            venice_parameters=Raw(parameters(answer)),
        )
    )


async def _gathered(answer: ChatAnswer) -> list[Choice]:
    parts: dict[int, _Parts] = {}
    while events := await answer.more():
        for event in events:
            for chunk in event.answers() if type(event) is Run else (event,):
                for choice in chunk.choices:
                    part = parts.get(choice.index)
                    if part is None:
                        part = parts[choice.index] = _Parts()
                    part.add(choice)
    return [part.choice(index) for index, part in sorted(parts.items())]


def _choice(choice: EngineChoice) -> Choice:
    """A choice that came in one piece. The usual one has neither calls nor log probabilities."""
    delta = choice.delta
    if delta is None or delta.tool_calls or bytes(choice.logprobs) not in NOTHING:
        part = _Parts()
        part.add(choice)
        return part.choice(choice.index)
    return Choice(
        index=choice.index,
        finish_reason=FINISH_REASONS.get(choice.finish_reason or "stop", "stop"),
        stop_reason=choice.stop_reason if isinstance(choice.stop_reason, str) else None,
        logprobs=_NO_LOGPROBS,
        message=Message(
            content=delta.content or "", reasoning_content=delta.thought() or None, tool_calls=[]
        ),
    )


def echo(options: Options) -> VeniceParametersEcho:
    """The effective parameters as the answer repeats them."""
    made = VeniceParametersEcho(
        enable_web_search=options.enable_web_search,
        enable_web_citations=options.enable_web_citations,
        enable_web_scraping=options.enable_web_scraping,
        include_venice_system_prompt=options.include_venice_system_prompt,
        include_search_results_in_stream=options.include_search_results_in_stream,
        return_search_results_as_documents=options.return_search_results_as_documents,
        strip_thinking_response=options.strip_thinking_response,
        disable_thinking=options.disable_thinking,
    )
    if options.character_slug is not None:
        made.character_slug = options.character_slug
    return made


def parameters(answer: ChatAnswer) -> bytes:
    """What the answer says of its parameters, as JSON, with what was found for it."""
    found = answer.found
    if found is None:
        return _echoed(answer.options)
    made = echo(answer.options)
    made.web_search_citations = found.citations
    if found.error is not None:
        made.web_search_error = found.error
    return _encoder.encode(made)


@lru_cache(256)
def _echoed(options: Options) -> bytes:
    """As JSON. There are few combinations in use, so each is encoded once."""
    return _encoder.encode(echo(options))


class _Logprobs(Sealed):
    content: list[Raw] | None = None


def _logprobs(raw: Raw) -> list[Raw]:
    try:
        return msgspec.json.decode(raw, type=_Logprobs).content or []
    except msgspec.DecodeError:  # the form of older completions, of which chat clients know nothing
        return []


class _Parts:
    """One choice, put together piece by piece."""

    __slots__ = ("_calls", "_finish", "_logprobs", "_said", "_stop", "_thought")

    def __init__(self) -> None:
        self._said: list[str] = []
        self._thought: list[str] = []
        self._calls: dict[int, ToolCall] = {}
        self._logprobs: list[Raw] = []
        self._finish: FinishReason | None = None
        self._stop: str | None = None

    def add(self, choice: EngineChoice) -> None:
        delta = choice.delta
        if delta is not None:
            if delta.content:
                self._said.append(delta.content)
            if thought := delta.thought():
                self._thought.append(thought)
            for call in delta.tool_calls or ():
                mine = self._calls.get(call.index or 0)
                if mine is None:
                    mine = ToolCall(
                        id=call.id or tool_call_id(), function=FunctionCall(name="", arguments="")
                    )
                    self._calls[call.index or 0] = mine
                if call.function is not None:
                    mine.function.name += call.function.name or ""
                    mine.function.arguments += call.function.arguments_text() or ""
        if bytes(choice.logprobs) not in NOTHING:
            self._logprobs += _logprobs(choice.logprobs)
        if choice.finish_reason is not None:
            self._finish = FINISH_REASONS.get(choice.finish_reason, "stop")
            if isinstance(choice.stop_reason, str):
                self._stop = choice.stop_reason

    def choice(self, index: int) -> Choice:
        calls = [self._calls[at] for at in sorted(self._calls)]
        for call in calls:
            call.function.arguments = call.function.arguments or "{}"
        logprobs = _NO_LOGPROBS
        if self._logprobs:
            logprobs = Raw(b'{"content":%b}' % _encoder.encode(self._logprobs))
        said = "".join(self._said)
        return Choice(
            index=index,
            finish_reason=self._finish or "stop",
            stop_reason=self._stop,
            logprobs=logprobs,
            message=Message(
                content=said if said or not calls else None,
                reasoning_content="".join(self._thought) or None,
                tool_calls=calls,
            ),
        )

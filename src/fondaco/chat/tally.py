"""What an answer used."""

from __future__ import annotations

from fondaco.billing.prices.tokens import estimated_tokens
from fondaco.chat.answer_wire import CompletionTokensDetails, PromptTokensDetails, Usage
from fondaco.chat.charging import guessed_tokens
from fondaco.content import Content
from fondaco.upstream.chat_stream import Event, Run
from fondaco.upstream.wire import EngineAnswer, EngineUsage

_MOST = 2**26
"""More tokens than any context holds: an engine that says so is not believed."""


class Tally:
    """Counts what an engine says, for those that do not say what was used, and for clients that leave before they do."""

    __slots__ = ("_asked", "_local", "_pieces", "_prompt_tokens", "_told", "_told_at")

    def __init__(self, asked: Content[bytes], prompt_tokens: int | None, *, local: bool) -> None:
        """`asked` is the engine's request; `prompt_tokens` what it counted of it beforehand, if it did."""
        self._asked = asked
        self._prompt_tokens = prompt_tokens
        self._local = local
        self._pieces = 0
        self._told: EngineUsage | None = None
        self._told_at = 0

    def read(self, events: list[Event]) -> None:
        """Count the pieces of text, of which engines send about one a token, and hear what they say was used."""
        for event in events:
            if type(event) is Run:
                self._pieces += event.count
            else:
                self._read(event)

    def _read(self, answer: EngineAnswer) -> None:
        if answer.usage is not None:
            self._tell(answer.usage)
            if self._told is not None:
                return
        for choice in answer.choices:
            delta = choice.delta
            if delta is None:
                continue
            if choice.finish_reason is not None:  # nothing, or all that was to be said
                self._pieces += estimated_tokens(len(delta.content or "") + len(delta.thought() or ""))
            elif delta.content or delta.tool_calls or delta.thought():
                self._pieces += 1

    def _tell(self, usage: EngineUsage) -> None:
        """What the engine says. Its last word holds, save that llama.cpp counts each of several choices alone."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        if not (prompt or completion) or not (0 <= prompt <= _MOST and 0 <= completion <= _MOST):
            return
        if self._told is not None and self._local:
            usage.completion_tokens += self._told.completion_tokens
        self._told, self._told_at = usage, self._pieces

    def so_far(self) -> Usage:
        """What an answer has used that is not over: what its engine has told may be older than what has come since."""
        if self._told is not None:
            self._told.completion_tokens += self._pieces - self._told_at
            self._told_at = self._pieces
        return self.usage()

    def usage(self) -> Usage:
        """What an answer has used that is over."""
        told = self._told
        if told is None:
            prompt = self._prompt_tokens
            if prompt is None:
                prompt = guessed_tokens(self._asked.reveal())
            return Usage(
                prompt_tokens=prompt, completion_tokens=self._pieces, total_tokens=prompt + self._pieces
            )
        prompt_details = completion_details = None
        if (details := told.prompt_tokens_details) is not None:
            prompt_details = PromptTokensDetails(cached_tokens=details.cached_tokens or 0)
            if details.cache_creation_input_tokens is not None:
                prompt_details.cache_creation_input_tokens = details.cache_creation_input_tokens
        if (thought := told.completion_tokens_details) is not None and thought.reasoning_tokens is not None:
            completion_details = CompletionTokensDetails(reasoning_tokens=thought.reasoning_tokens)
        return Usage(
            prompt_tokens=told.prompt_tokens,
            completion_tokens=told.completion_tokens,
            total_tokens=told.prompt_tokens + told.completion_tokens,
            prompt_tokens_details=prompt_details,
            completion_tokens_details=completion_details,
        )

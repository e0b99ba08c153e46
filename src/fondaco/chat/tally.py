"""What an answer used."""

from __future__ import annotations

from fondaco.billing.prices.tokens import estimated_tokens
from fondaco.chat.answer_wire import CompletionTokensDetails, PromptTokensDetails, Usage
from fondaco.chat.charging import guessed_tokens
from fondaco.chat.service import ChatAnswer
from fondaco.upstream.wire import EngineAnswer, EngineUsage

_MOST = 2**26
"""More tokens than any context holds: an engine that says so is not believed."""


class Tally:
    """Counts what goes by, for engines that do not say what was used, and for clients that leave before they do."""

    __slots__ = ("_answer", "_pieces", "_told", "_told_at")

    def __init__(self, answer: ChatAnswer) -> None:
        self._answer = answer
        self._pieces = 0
        self._told: EngineUsage | None = None
        self._told_at = 0

    def note(self, pieces: int) -> None:
        """So many pieces of text were made; engines send about one a token."""
        self._pieces += pieces

    def read(self, answer: EngineAnswer) -> None:
        """Count a decoded chunk's pieces, and hear what it says was used."""
        if answer.usage is not None:
            self.tell(answer.usage)
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

    def tell(self, usage: EngineUsage) -> None:
        """What the engine says. Its last word holds, save that llama.cpp counts each of several choices alone."""
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        if not (prompt or completion) or not (0 <= prompt <= _MOST and 0 <= completion <= _MOST):
            return
        if self._told is not None and self._answer.local:
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
            prompt = self._answer.spending.prompt_tokens
            if prompt is None:
                prompt = guessed_tokens(self._answer.asked.reveal())
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

"""What an answer used."""

from __future__ import annotations

from fondaco.billing.prices.tokens import estimated_tokens
from fondaco.chat.answer_wire import CompletionTokensDetails, PromptTokensDetails, Usage
from fondaco.chat.charging import guessed_tokens
from fondaco.chat.service import ChatAnswer
from fondaco.upstream.wire import EngineAnswer, EngineUsage


class Tally:
    """Counts what goes by, for engines that do not say what was used."""

    __slots__ = ("_answer", "_pieces", "_told")

    def __init__(self, answer: ChatAnswer) -> None:
        self._answer = answer
        self._pieces = 0
        self._told: EngineUsage | None = None

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
            if choice.finish_reason is None:
                self._pieces += 1
            elif choice.delta is not None:  # nothing, or all that was to be said
                size = len(choice.delta.content or "") + len(choice.delta.thought() or "")
                self._pieces += estimated_tokens(size)

    def tell(self, usage: EngineUsage) -> None:
        """What the engine says. Its last word holds, save that llama.cpp counts each of several choices alone."""
        if not (usage.prompt_tokens or usage.completion_tokens):
            return
        if self._told is not None and self._answer.local:
            usage.completion_tokens += self._told.completion_tokens
        self._told = usage

    def usage(self) -> Usage:
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

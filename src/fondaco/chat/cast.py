"""Characters in chats: who `character_slug` names, put into the conversation that an engine is given.

The request's own messages are never changed; what is added is counted and paid like the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from fondaco.characters.character import Character
from fondaco.characters.persona import Staged, Turn, staged
from fondaco.chat import tool_prompt
from fondaco.chat.messages import (
    AssistantMessage,
    ChatMessage,
    DeveloperMessage,
    FunctionMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from fondaco.chat.options import Options
from fondaco.chat.prompt import PromptBuilder
from fondaco.errors import CharacterNotFound
from fondaco.models.model import Model

_HEADS = (SystemMessage, DeveloperMessage)
_RESULTS = (ToolMessage, FunctionMessage)
_SPEAKER: dict[str, type[Any]] = {
    "system": SystemMessage,
    "user": UserMessage,
    "assistant": AssistantMessage,
}


class Characters(Protocol):
    def find(self, slug: str) -> Character:
        """Raises CharacterNotFound."""
        ...


class Cast:
    def __init__(self, characters: Characters, prompt: PromptBuilder) -> None:
        self._characters = characters
        self._prompt = prompt

    def play(
        self, slug: str, messages: Sequence[ChatMessage], options: Options, model: Model
    ) -> tuple[list[ChatMessage], Options]:
        """The conversation as the character's, and the options that then hold. Raises CharacterNotFound.

        What the character is goes before the caller's system messages, its greeting before the first user message
        of a conversation that does not begin with one, and its last word after all.
        """
        card = self._characters.find(slug).card
        heads = next((at for at, each in enumerate(messages) if not isinstance(each, _HEADS)), len(messages))
        part = staged(
            card,
            [turn for each in messages[heads:] if (turn := _turn(each)) is not None],
            user=_user(messages),
            original=self._prompt.own_prompt(model, options),
            context_tokens=model.context_tokens,
        )
        if part.replaces_prompt and options.include_venice_system_prompt:
            options = msgspec.structs.replace(options, include_venice_system_prompt=False)
        return [
            SystemMessage(content=part.system),
            *messages[:heads],
            *_talk(messages[heads:], part),
        ], options


def _talk(messages: Sequence[ChatMessage], part: Staged) -> list[ChatMessage]:
    """The turns with what is said among and after them."""
    talk = list(messages)
    if part.greeting:
        first = next((at for at, each in enumerate(talk) if isinstance(each, UserMessage)), None)
        if first is not None:
            talk.insert(first, AssistantMessage(content=part.greeting))
    # The deepest first: places are counted from the end, and what is put in before them moves none.
    for aside in sorted(part.asides, key=lambda aside: -aside.depth):
        talk.insert(_before(talk, aside.depth), _SPEAKER[aside.role](content=aside.text))
    if part.closing:
        # An answer that is to be gone on with stays the last.
        ends = bool(talk) and isinstance(talk[-1], AssistantMessage)
        talk.insert(len(talk) - ends, SystemMessage(content=part.closing))
    return talk


def _before(talk: Sequence[ChatMessage], depth: int) -> int:
    """The place before so many of the last turns, and never between a tool's call and its result."""
    at = max(0, len(talk) - depth)
    while 0 < at < len(talk) and isinstance(talk[at], _RESULTS):
        at -= 1
    return at


def _turn(message: ChatMessage) -> Turn | None:
    if isinstance(message, (UserMessage, AssistantMessage)):
        return Turn(isinstance(message, AssistantMessage), tool_prompt.plain_text(message.content or ""))
    return None


def _user(messages: Sequence[ChatMessage]) -> str | None:
    """The name that the user goes by, if a message says one."""
    return next(
        (each.name for each in reversed(messages) if isinstance(each, UserMessage) and each.name), None
    )


class NoCharacters:
    """For chats without any."""

    def find(self, slug: str) -> Character:
        raise CharacterNotFound

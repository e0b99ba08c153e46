"""What an engine is given to read: the server's prompt, the caller's, and the conversation, in that order."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from fondaco.chat import tool_prompt
from fondaco.chat.messages import (
    AssistantMessage,
    AudioPart,
    ChatMessage,
    DeveloperMessage,
    FilePart,
    FunctionMessage,
    ImagePart,
    InputTextPart,
    SystemMessage,
    TextPart,
    ToolMessage,
    UserMessage,
    UserPart,
    VideoPart,
)
from fondaco.chat.options import Options
from fondaco.chat.system_prompts import system_prompt
from fondaco.chat.tools import FunctionSpec
from fondaco.clock import Clock
from fondaco.models.model import Model

# Compared by identity: `isinstance` on a struct costs ten times as much, and this is on every request.
_HEADS = frozenset({SystemMessage, DeveloperMessage})
_MEDIA = frozenset({ImagePart, AudioPart, VideoPart})


class PromptBuilder:
    def __init__(
        self, clock: Clock, system: str | None, by_model: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """`system` replaces our own prompts, and `by_model` it, by patterns of ids; empty text is none at all."""
        self._clock = clock
        self._system = system
        self._by_model = by_model
        self._day = -1
        self._dated: dict[tuple[str, bool], str] = {}
        """By model and whether it speaks as a character, for the day that it is."""

    def own_prompt(self, model: Model, options: Options) -> str:
        """The server's own system prompt for this model as of now; empty when there is none, or it is turned off."""
        if not options.include_venice_system_prompt:
            return ""
        in_character = options.character_slug is not None
        day = self._clock.unix() // 86_400
        if day != self._day:
            self._day, self._dated = day, {}
        if (prompt := self._dated.get((model.id, in_character))) is None:
            prompt = system_prompt(model, self._system, self._by_model, in_character=in_character)
            if prompt:
                # Last, so that all before it stays the same from day to day and an engine's prompt cache holds.
                prompt += f"\nToday is {self._clock.now():%A, %d %B %Y}."
            self._dated[model.id, in_character] = prompt
        return prompt

    def build(
        self,
        messages: list[ChatMessage],
        odd: list[int],
        *,
        own_prompt: str,
        listed_tools: list[FunctionSpec] | None = None,
    ) -> list[Any]:
        """Messages in the engine's wire form. `odd` says which of them are `unusual`; `own_prompt` goes before them.

        The leading system messages become one, since many chat templates take no more. With `listed_tools` the
        tools, earlier calls and results are written out as text, for engines that are not given them as such.
        """
        heads: list[str] = []
        if own_prompt:
            heads.append(own_prompt)
        rest = 0
        for message in messages:
            if type(message) not in _HEADS:
                break
            heads.append(tool_prompt.plain_text(message.content))
            rest += 1
        if listed_tools:
            heads.append(tool_prompt.listing(listed_tools))
        built: list[Any] = messages[rest:]
        if listed_tools is not None:
            turn = _as_text(messages)
            last = len(messages) - 1
            turns = [turn(messages[at], at == last) for at in range(rest, len(messages))]
            built = [made for made in turns if made is not None]
        else:
            # Plain turns go as they are; only the others are made anew, from the end, since some fall away.
            for at in reversed(odd):
                if at >= rest:
                    made = _as_wire(messages[at])
                    built[at - rest : at - rest + 1] = () if made is None else (made,)
        if heads:
            built.insert(0, {"role": "system", "content": "\n\n".join(heads)})
        return built


def _as_wire(message: ChatMessage) -> Any:
    """A turn as it is, less what engines may stumble over; None for one that says nothing."""
    if type(message) is UserMessage:
        return message if type(message.content) is str else _parts(message)
    if isinstance(message, AssistantMessage):
        calls = message.tool_calls
        if not calls and not message.content:
            return None
        made: dict[str, Any] = {"role": "assistant", "content": message.content or None}
        if calls:
            made["tool_calls"] = calls
        elif message.name:
            made["name"] = message.name
        if isinstance(message.content, list):
            made["content"] = tool_prompt.plain_text(message.content)
        return made
    if isinstance(message, FunctionMessage):
        return {"role": "tool", "tool_call_id": message.name or "", "content": message.content or ""}
    if isinstance(message, ToolMessage):
        return {
            "role": "tool",
            "tool_call_id": message.tool_call_id,
            "content": tool_prompt.plain_text(message.content),
        }
    return {"role": "system", "content": tool_prompt.plain_text(message.content)}


def _parts(message: UserMessage) -> Any:
    """Parts in OpenAI's spelling, without what only caches read; text alone becomes one string."""
    if _MEDIA.isdisjoint(map(type, message.content)):
        return UserMessage(content=tool_prompt.plain_text(message.content), name=message.name)
    parts: list[UserPart] = []
    for part in message.content:
        if isinstance(part, (TextPart, InputTextPart)):
            parts.append(TextPart(text=part.text))
        elif not isinstance(part, (str, FilePart)):
            parts.append(
                part if part.cache_control is None else msgspec.structs.replace(part, cache_control=None)
            )
    return UserMessage(content=parts, name=message.name)


def _as_text(messages: list[ChatMessage]) -> Any:
    names: dict[str, str] = {}
    for message in messages:
        if isinstance(message, AssistantMessage):
            names.update(tool_prompt.call_names(message.tool_calls))

    def turn(message: ChatMessage, last: bool) -> Any:
        if isinstance(message, AssistantMessage) and message.tool_calls:
            return {"role": "assistant", "content": tool_prompt.past_calls(message)}
        if isinstance(message, (ToolMessage, FunctionMessage)):
            return {"role": "user", "content": tool_prompt.result(message, names, last=last)}
        return _as_wire(message)

    return turn

"""The messages of a chat request (CONTRACT 3.3): strict about what they carry, deaf to what they do not.

Clients replay whatever their SDK dumped, so unknown keys of a message or part are dropped and null optionals pass.
The role and the part's `type` are tags: each has its own struct, and encoding one gives the OpenAI shape again
without the keys that were not there.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Raw

from fondaco.content import Sealed

Audio = Literal["wav", "mp3", "aiff", "aac", "ogg", "flac", "m4a", "pcm16", "pcm24"]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]

MAX_MESSAGES = 65_536
"""No context holds more; it bounds what a hostile body can make us do."""


class CacheControl(Sealed, kw_only=True, omit_defaults=True, gc=False):
    """Where a provider that caches prompts may cut."""

    type: Literal["ephemeral"]
    ttl: str | None = None


class Part(Sealed, tag_field="type", kw_only=True, omit_defaults=True, gc=False):
    """One piece of a message's content."""

    cache_control: CacheControl | None = None


class TextPart(Part, tag="text"):
    text: Annotated[str, Meta(min_length=1, description="At least one character.")]


class InputTextPart(TextPart, tag="input_text"):
    """`text` as the Responses API spells it in a question."""


class OutputTextPart(TextPart, tag="output_text"):
    """`text` as the Responses API spells it in an answer."""


class RefusalPart(Part, tag="refusal"):
    refusal: str


class ImageUrl(Sealed, kw_only=True, omit_defaults=True, gc=False):
    url: Annotated[str, Meta(min_length=1, description="http(s) or data: URL of an image.")]
    detail: str | None = None


class ImagePart(Part, tag="image_url"):
    image_url: ImageUrl


class InputAudio(Sealed, kw_only=True, gc=False):
    data: Annotated[str, Meta(min_length=1, description="Base64; no URLs.")]
    format: Audio = "wav"


class AudioPart(Part, tag="input_audio"):
    input_audio: InputAudio


class VideoUrl(Sealed, kw_only=True, gc=False):
    url: Annotated[str, Meta(min_length=1, description="http(s) or data: URL of an mp4, mpeg, mov or webm.")]


class VideoPart(Part, tag="video_url"):
    video_url: VideoUrl


class FileData(Sealed, kw_only=True, omit_defaults=True, gc=False):
    file_data: Annotated[
        str, Meta(min_length=1, description="http(s) or data: URL of a document, or its base64.")
    ]
    filename: str | None = None


class FilePart(Part, tag="file"):
    file: FileData


PlainPart = TextPart | InputTextPart
SpokenPart = TextPart | OutputTextPart | InputTextPart | RefusalPart
UserPart = TextPart | InputTextPart | ImagePart | AudioPart | VideoPart | FilePart


class FunctionCall(Sealed, kw_only=True, gc=False):
    """What the model asked to be called, with its arguments as JSON in a string."""

    name: str
    arguments: str | None = None


class ToolCall(Sealed, kw_only=True, omit_defaults=False, gc=False):
    id: str | None = None
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Sealed, tag_field="role", kw_only=True, omit_defaults=True, gc=False):
    """One turn. `role` is the tag."""

    role: ClassVar[Role]
    name: str | None = None


class SystemMessage(Message, tag="system"):
    role: ClassVar[Role] = "system"
    content: str | list[PlainPart]


class DeveloperMessage(Message, tag="developer"):
    role: ClassVar[Role] = "developer"
    content: str | list[PlainPart]


class UserMessage(Message, tag="user"):
    """The only one that may carry media."""

    role: ClassVar[Role] = "user"
    content: str | list[UserPart]


class AssistantMessage(Message, tag="assistant"):
    role: ClassVar[Role] = "assistant"
    content: str | list[SpokenPart] | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Raw] | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    """Older spelling of a single tool call."""


class ToolMessage(Message, tag="tool"):
    role: ClassVar[Role] = "tool"
    content: str | list[PlainPart]
    tool_call_id: str


class FunctionMessage(Message, tag="function"):
    """Older spelling of a tool's answer; `name` says which function it is of."""

    role: ClassVar[Role] = "function"
    content: str | None = None


ChatMessage = (
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
)


# Classes are compared by identity: `isinstance` on a struct costs ten times as much, and these are on every request.
_SPEAKERS = frozenset({SystemMessage, UserMessage})
_beside_words = attrgetter(
    "tool_calls", "function_call", "reasoning_content", "reasoning_details", "thought_signature"
)
_NOTHING = (None,) * 5


def unusual(messages: list[ChatMessage]) -> list[int]:
    """Where in the conversation somebody does more than say plain text; most often nowhere, or in a turn or two."""
    return [
        at
        for at, message in enumerate(messages)
        if type(message.content) is not str
        or (
            type(message) not in _SPEAKERS
            and (
                type(message) is not AssistantMessage
                or not message.content
                or _beside_words(message) != _NOTHING
            )
        )
    ]


def one_spelling(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The conversation in OpenAI's present spelling, without empty turns of the assistant's. Changes them in place."""
    for message in messages:
        if type(message) is AssistantMessage:
            if not message.content or message.tool_calls is not None or message.function_call is not None:
                break
        elif type(message) is FunctionMessage:
            break
    else:
        return messages
    told: list[ChatMessage] = []
    called: str | None = None
    for index, message in enumerate(messages):
        if type(message) is AssistantMessage:
            if message.function_call is not None:
                if not message.tool_calls:
                    called = f"call_{index}"
                    message.tool_calls = [ToolCall(id=called, function=message.function_call)]
                message.function_call = None
            for call in message.tool_calls or ():
                if not call.function.arguments:
                    call.function.arguments = "{}"
            if message.content or message.tool_calls:
                told.append(message)
        elif type(message) is FunctionMessage:
            answered = called or f"call_{index}"
            told.append(ToolMessage(content=message.content or "", tool_call_id=answered, name=message.name))
        else:
            told.append(message)
    return told

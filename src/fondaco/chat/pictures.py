"""Media in chat messages: what this server takes, and which pictures a model is shown."""

from __future__ import annotations

import asyncio

import msgspec

from fondaco.chat.messages import (
    AudioPart,
    ChatMessage,
    FilePart,
    ImagePart,
    ImageUrl,
    InputTextPart,
    TextPart,
    UserMessage,
    UserPart,
    VideoPart,
)
from fondaco.errors import InvalidRequest, Issue, PathPart
from fondaco.media import data_url, images
from fondaco.models.model import Capabilities

MAX_IMAGES_PER_MESSAGE = 10
MAX_AUDIO_PER_MESSAGE = 5
MAX_VIDEOS = 3

# Compared by identity: `isinstance` on a struct costs ten times as much, and this is on every request.
_PLAIN = frozenset({TextPart, InputTextPart})

_NO_URLS = "http(s) URLs are not fetched by this server yet: send the content as a base64 data: URL"


def has_media(messages: list[ChatMessage], odd: list[int]) -> bool:
    """Whether any part is more than text. `odd` says which messages are `unusual`."""
    for at in odd:
        message = messages[at]
        if (
            type(message) is UserMessage
            and type(message.content) is list
            and not _PLAIN.issuperset(map(type, message.content))
        ):
            return True
    return False


def refusals(messages: list[ChatMessage], able: Capabilities) -> list[Issue]:
    """What is wrong with the media parts, without decoding any: kinds the model lacks, URLs, numbers."""
    issues: list[Issue] = []
    videos = 0
    for at, message in enumerate(messages):
        if not isinstance(message, UserMessage) or isinstance(message.content, str):
            continue
        pictures = sounds = 0
        for position, part in enumerate(message.content):
            path: tuple[PathPart, ...] = ("messages", at, "content", position)
            if isinstance(part, ImagePart):
                pictures += 1
                issues += _check(path, "image_url", part.image_url.url, able.vision, "image input")
            elif isinstance(part, AudioPart):
                sounds += 1
                if not able.audio_input:
                    issues.append(_lacking(path, "audio input"))
            elif isinstance(part, VideoPart):
                videos += 1
                issues += _check(path, "video_url", part.video_url.url, able.video_input, "video input")
            elif isinstance(part, FilePart):
                issues.append(Issue("custom", path, "file parts are not read by this server yet"))
        if pictures > MAX_IMAGES_PER_MESSAGE:
            issues.append(_too_many(at, MAX_IMAGES_PER_MESSAGE, "images a message"))
        if sounds > MAX_AUDIO_PER_MESSAGE:
            issues.append(_too_many(at, MAX_AUDIO_PER_MESSAGE, "audio parts a message"))
    if videos > MAX_VIDEOS:
        issues.append(Issue("too_big", ("messages",), f"At most {MAX_VIDEOS} videos a request are allowed"))
    return issues


async def prepared(messages: list[ChatMessage], able: Capabilities, *, local: bool) -> list[ChatMessage]:
    """The messages with every picture checked, and made readable for a local engine.

    A model that takes pictures from one message only is shown those of the last that has any.
    Raises InvalidRequest naming the part.
    """
    last = max((at for at, message in enumerate(messages) if _pictures(message)), default=-1)
    made: list[ChatMessage] = []
    for at, message in enumerate(messages):
        if not _pictures(message) or not isinstance(message, UserMessage) or isinstance(message.content, str):
            made.append(message)
            continue
        parts: list[UserPart] = list(message.content)
        if at != last and not able.multiple_images:
            parts = [part for part in parts if not isinstance(part, ImagePart)]
        else:
            for position, part in enumerate(parts):
                if isinstance(part, ImagePart):
                    parts[position] = await _checked(part, ("messages", at, "content", position), local)
        made.append(UserMessage(content=parts or "", name=message.name))
    return made


def _pictures(message: ChatMessage) -> bool:
    return (
        isinstance(message, UserMessage)
        and not isinstance(message.content, str)
        and any(isinstance(part, ImagePart) for part in message.content)
    )


async def _checked(part: ImagePart, path: tuple[PathPart, ...], local: bool) -> ImagePart:
    def look() -> str:
        _, data = data_url.decode(part.image_url.url, images.MAX_BYTES)
        facts = images.inspect(data)
        return images.plain_data_url(data, facts) if local else part.image_url.url

    try:
        url = await asyncio.to_thread(look)
    except (data_url.BadDataUrl, images.BadImage) as error:
        why = f"Supplied image did not pass validation checks: {error}"
        raise InvalidRequest.at(*path, "image_url", "url", message=why) from None
    return msgspec.structs.replace(part, image_url=ImageUrl(url=url, detail=part.image_url.detail))


def _check(path: tuple[PathPart, ...], key: str, url: str, able: bool, kind: str) -> list[Issue]:
    if not able:
        return [_lacking(path, kind)]
    if url.startswith("data:"):
        return []
    return [Issue("custom", (*path, key, "url"), _NO_URLS)]


def _lacking(path: tuple[PathPart, ...], kind: str) -> Issue:
    return Issue("custom", path, f"{kind} is not supported by this model")


def _too_many(at: int, most: int, what: str) -> Issue:
    return Issue("too_big", ("messages", at, "content"), f"At most {most} {what} are allowed")

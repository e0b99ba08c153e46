"""Parts of chat messages that are more than text: which of them a model can be given, before any is looked into."""

from __future__ import annotations

import re

from fondaco.chat.messages import (
    AudioPart,
    ChatMessage,
    FilePart,
    ImagePart,
    InputTextPart,
    TextPart,
    UserMessage,
    VideoPart,
)
from fondaco.errors import Issue, PathPart
from fondaco.models.model import Capabilities

MAX_IMAGES_PER_MESSAGE = 10
MAX_AUDIO_PER_MESSAGE = 5
MAX_FILES_PER_MESSAGE = 5
MAX_VIDEOS = 3
MAX_URLS = 50
"""Different ones of a request that are fetched: it must not become a flood for somebody else."""

# Compared by identity: `isinstance` on a struct costs ten times as much, and this is on every request.
_PLAIN = frozenset({TextPart, InputTextPart})

# Its pages that are videos, and none that leads elsewhere.
_YOUTUBE = re.compile(
    r"https://(?:(?:www\.|m\.|music\.)?youtube\.com/(?:watch\?|shorts/|live/|embed/)|youtu\.be/)[\w.%?&=-]{6,200}",
    re.ASCII,
)


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


def is_unmeasured(messages: list[ChatMessage]) -> bool:
    """Whether something says by no size of its own how many tokens it is: a document, a recording, a video."""
    return any(
        isinstance(part, (FilePart, AudioPart, VideoPart))
        for message in messages
        if isinstance(message, UserMessage) and not isinstance(message.content, str)
        for part in message.content
    )


def refusals(messages: list[ChatMessage], able: Capabilities) -> list[Issue]:
    """What is wrong with the media parts, without decoding any: kinds the model lacks, numbers, and what is no URL."""
    issues: list[Issue] = []
    videos = 0
    urls: set[str] = set()
    for at, message in enumerate(messages):
        if not isinstance(message, UserMessage) or isinstance(message.content, str):
            continue
        pictures = sounds = files = 0
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
                files += 1
            if (url := url_of(part)) is not None:
                urls.add(url)
        for count, most, what in (
            (pictures, MAX_IMAGES_PER_MESSAGE, "images"),
            (sounds, MAX_AUDIO_PER_MESSAGE, "audio parts"),
            (files, MAX_FILES_PER_MESSAGE, "files"),
        ):
            if count > most:
                told = f"At most {most} {what} a message are allowed"
                issues.append(Issue("too_big", ("messages", at, "content"), told))
    for count, most, what in ((videos, MAX_VIDEOS, "videos"), (len(urls), MAX_URLS, "different URLs")):
        if count > most:
            issues.append(Issue("too_big", ("messages",), f"At most {most} {what} a request are allowed"))
    return issues


def url_of(part: object) -> str | None:
    """The http(s) URL that a part names; None where it brings its content itself."""
    if isinstance(part, ImagePart):
        url = part.image_url.url
    elif isinstance(part, VideoPart):
        url = part.video_url.url
    elif isinstance(part, FilePart):
        url = part.file.file_data
    else:
        return None
    return url if _on_the_web(url) else None


def on_youtube(url: str) -> bool:
    """Whether it is a video's page there, which models that take such read by themselves."""
    return _YOUTUBE.fullmatch(url) is not None


def _on_the_web(url: str) -> bool:
    return url[:8].lower().startswith(("http://", "https://"))


def _check(path: tuple[PathPart, ...], key: str, url: str, able: bool, kind: str) -> list[Issue]:
    if not able:
        return [_lacking(path, kind)]
    if url.startswith("data:") or _on_the_web(url):
        return []
    return [Issue("custom", (*path, key, "url"), "It must be an http(s) URL, or a base64 data: URL")]


def _lacking(path: tuple[PathPart, ...], kind: str) -> Issue:
    return Issue("custom", path, f"{kind} is not supported by this model")

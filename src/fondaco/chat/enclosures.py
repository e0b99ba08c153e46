"""What a conversation brings with it beside words: pictures checked, videos fetched, documents turned into text.

An engine is never given a URL of a caller's but a video's on YouTube: what others lead to is fetched here, guarded.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Protocol

import msgspec

from fondaco.augment.documents import MAX_CHARACTERS, Unparsable
from fondaco.augment.parsing.wire import Job, Parsed
from fondaco.augment.results import Result
from fondaco.augment.turns import Turns
from fondaco.chat.attachments import elsewhere, enclosed, name_of, unread
from fondaco.chat.fetches import Fetches, Fetching, Kind, Wanted
from fondaco.chat.media_parts import on_youtube, url_of
from fondaco.chat.messages import (
    ChatMessage,
    FilePart,
    ImagePart,
    ImageUrl,
    TextPart,
    UserMessage,
    UserPart,
    VideoPart,
    VideoUrl,
)
from fondaco.content import Sealed
from fondaco.errors import InvalidRequest, PathPart
from fondaco.media import data_url, images, video_kind
from fondaco.models.model import Capabilities
from fondaco.net.errors import FetchError, TooManyRedirects

MAX_FILE_BYTES = 25 * 1024 * 1024
MAX_VIDEO_BYTES = 64 * 1024 * 1024
SECONDS = 60.0
"""For all that one request encloses, fetched and read."""

FETCHES = 16
FETCHES_EACH = 4
"""Together, of one account."""

_DECODED_AT_ONCE = 2
"""Pictures; one may take a quarter of a GiB."""

_IMAGE = Kind("image/png,image/jpeg,image/webp,image/avif,image/*;q=0.5", images.MAX_BYTES, redirects=0)
_VIDEO = Kind("video/mp4,video/webm,video/*;q=0.8,*/*;q=0.1")
_FILE = Kind("*/*", MAX_FILE_BYTES)

_TOO_LONG = "the files of this request have too much text together"
_TOO_SLOW = "to read all files of this request took too long"


class Reading(Protocol):
    """See `fondaco.augment.documents`."""

    async def read(self, job: Job, data: bytes | memoryview, account: str | None = None) -> Parsed: ...


class Opened(Sealed):
    messages: list[ChatMessage]
    """Without `file` parts, and with no URL that an engine would have to fetch, but YouTube's."""
    pages: list[Result]
    """Documents that were fetched, each once: as foreign as any page, so their text is not in `messages`."""


class Enclosures:
    """Belongs to one event loop."""

    def __init__(self, fetcher: Fetching, documents: Reading, seconds: float = SECONDS) -> None:
        self._fetcher = fetcher
        self._documents = documents
        self._seconds = seconds
        self._turns = Turns(FETCHES, FETCHES_EACH)
        self._decoding = asyncio.Semaphore(_DECODED_AT_ONCE)

    async def opened(
        self, messages: list[ChatMessage], able: Capabilities, *, local: bool, account: str
    ) -> Opened:
        """The conversation as an engine can take it; `local` ones read fewer kinds of pictures.

        A model that takes pictures from one message only is shown those of the last that has any. Raises InvalidRequest
        naming the part for pictures and videos; of a document that cannot be read the model is told in its place.
        """
        deadline = asyncio.get_running_loop().time() + self._seconds
        shown = _shown(messages, able)
        async with Fetches(self._fetcher, self._turns, account, deadline) as fetches:
            for parts in shown.values():
                for part in parts.values():
                    if (wanted := _wanted(part, local)) is not None:
                        fetches.begin(wanted)
            opening = _Opening(self._documents, self._decoding, fetches, deadline, account, local)
            made = list(messages)
            for at, parts in shown.items():
                message = messages[at]
                content = [
                    await opening.part(part, ("messages", at, "content", position))
                    for position, part in parts.items()
                ]
                made[at] = UserMessage(content=content or "", name=message.name)
            return Opened(messages=made, pages=list(opening.pages.values()))


class _Opening:
    """One conversation's parts, opened one after the other."""

    def __init__(
        self,
        documents: Reading,
        decoding: asyncio.Semaphore,
        fetches: Fetches,
        deadline: float,
        account: str,
        local: bool,
    ) -> None:
        self.pages: dict[str, Result] = {}
        """By URL."""
        self._documents = documents
        self._decoding = decoding
        self._fetches = fetches
        self._deadline = deadline
        self._account = account
        self._local = local
        self._characters = MAX_CHARACTERS

    async def part(self, part: UserPart, path: tuple[PathPart, ...]) -> UserPart:
        if isinstance(part, ImagePart):
            try:
                return await self._image(part)
            except (data_url.BadDataUrl, images.BadImage, FetchError) as error:
                why = f"Supplied image did not pass validation checks: {_reason(error)}"
                raise InvalidRequest.at(*path, "image_url", "url", message=why) from None
        if isinstance(part, VideoPart):
            try:
                return await self._video(part)
            except (data_url.BadDataUrl, FetchError) as error:
                why = f"Supplied video did not pass validation checks: {_reason(error)}"
                raise InvalidRequest.at(*path, "video_url", "url", message=why) from None
        if isinstance(part, FilePart):
            return TextPart(text=await self._file(part), cache_control=part.cache_control)
        return part

    async def _image(self, part: ImagePart) -> ImagePart:
        wanted = _wanted(part, self._local)
        found = None if wanted is None else (await self._fetches.take(wanted)).body

        def look() -> str:
            data = data_url.decode(part.image_url.url, images.MAX_BYTES)[1] if found is None else found
            facts = images.inspect(data)
            if self._local:
                return images.plain_data_url(data, facts)
            return part.image_url.url if found is None else images.data_url(data, facts)

        async with self._decoding:
            url = await asyncio.to_thread(look)
        return msgspec.structs.replace(part, image_url=ImageUrl(url=url, detail=part.image_url.detail))

    async def _video(self, part: VideoPart) -> VideoPart:
        url = part.video_url.url
        wanted = _wanted(part, self._local)
        if wanted is not None:
            data = (await self._fetches.take(wanted)).body
        elif url_of(part) is None:
            _, data = await asyncio.to_thread(data_url.decode, url, MAX_VIDEO_BYTES)
        else:
            return part
        if (kind := video_kind.video_kind(data)) is None:
            raise data_url.BadDataUrl(f"it is none of {video_kind.NAMES}")
        if wanted is not None:
            url = f"data:{video_kind.MEDIA_TYPES[kind]};base64,{base64.b64encode(data).decode()}"
        return msgspec.structs.replace(part, video_url=VideoUrl(url=url))

    async def _file(self, part: FilePart) -> str:
        """What stands in the conversation for the document. Raises nothing."""
        url = url_of(part)
        name = name_of(part.file.filename, url)
        if url is not None and url in self.pages:
            return elsewhere(name)
        try:
            parsed = await self._text(part, url)
        except (data_url.BadDataUrl, FetchError, Unparsable) as error:
            return unread(name, _reason(error))
        except TimeoutError:
            return unread(name, _TOO_SLOW)
        if not parsed.text:
            return unread(name, "there is no text in it")
        self._characters -= len(parsed.text)
        if url is None:
            return enclosed(name, parsed.text, cut=parsed.cut)
        title = f"{name}: {parsed.title}" if parsed.title else name
        self.pages[url] = Result(title, url, parsed.text, parsed.date)
        return elsewhere(name)

    async def _text(self, part: FilePart, url: str | None) -> Parsed:
        """Raises BadDataUrl, FetchError, Unparsable and TimeoutError."""
        if self._characters <= 0:
            raise data_url.BadDataUrl(_TOO_LONG)
        job = Job(name=part.file.filename or "", max_characters=self._characters)
        wanted = _wanted(part, self._local)
        if wanted is not None:
            found = await self._fetches.take(wanted)
            data, job.media_type, job.charset, job.url = (
                found.body,
                found.content_type,
                found.charset,
                found.url,
            )
        else:
            job.media_type, data = await asyncio.to_thread(_given, part.file.file_data)
        async with asyncio.timeout_at(self._deadline):
            return await self._documents.read(job, data, self._account)


def _shown(messages: list[ChatMessage], able: Capabilities) -> dict[int, dict[int, UserPart]]:
    """By place, the messages with more than text in them, and by place, their parts that the model is shown."""
    odd: dict[int, dict[int, UserPart]] = {}
    last = -1
    for at, message in enumerate(messages):
        if isinstance(message, UserMessage) and not isinstance(message.content, str):
            if not all(isinstance(part, TextPart) for part in message.content):
                odd[at] = dict(enumerate(message.content))
            if any(isinstance(part, ImagePart) for part in message.content):
                last = at
    if not able.multiple_images:
        for at, parts in odd.items():
            if at != last:
                odd[at] = {place: part for place, part in parts.items() if not isinstance(part, ImagePart)}
    return odd


def _wanted(part: UserPart, local: bool) -> Wanted | None:
    """What is to be fetched for a part."""
    if (url := url_of(part)) is None:
        return None
    if isinstance(part, ImagePart):
        return url, _IMAGE
    if isinstance(part, VideoPart):
        return None if on_youtube(url) and not local else (url, _VIDEO)
    return url, _FILE


def _given(file_data: str) -> tuple[str, bytes]:
    """Media type and bytes of a document that the caller has sent; some clients send bare base64. Raises BadDataUrl."""
    bare = not file_data.startswith("data:")
    try:
        kind, data = data_url.decode(f"data:;base64,{file_data}" if bare else file_data, MAX_FILE_BYTES)
    except data_url.BadDataUrl as error:
        if bare and str(error) == data_url.NOT_BASE64:
            raise data_url.BadDataUrl("it is neither an http(s) URL nor base64") from None
        raise
    return kind.partition(";")[0], data


def _reason(error: Exception) -> str:
    if isinstance(error, TooManyRedirects):
        return "its URL redirects too often, and a picture's may not at all"
    if isinstance(error, (FetchError, Unparsable)):
        return error.sentence
    return str(error)

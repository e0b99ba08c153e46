"""POST /audio/speech."""

from __future__ import annotations

import msgspec

from fondaco.http.call import Call
from fondaco.http.model_headers import model_headers
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply, stream_reply
from fondaco.http.routing import Route
from fondaco.http.validation import decode
from fondaco.speech.service import Recital, SpeechService
from fondaco.speech.wire import MEDIA_TYPES, AudioDelta, AudioDone, SpeechRequest, SpeechUsage


def routes(speech: SpeechService) -> list[Route]:
    async def create_speech(call: Call) -> Reply:
        """POST /audio/speech (CONTRACT 7.1)."""
        request = decode((await call.json_body()).reveal(), SpeechRequest)
        recital = await speech.begin(call.admitted, request)
        call.model = recital.model.id
        headers = model_headers(recital.model.id, recital.model.name, local=recital.local)
        if request.stream_format == "sse":
            return stream_reply(_Events(recital), headers)
        kind = MEDIA_TYPES[recital.form]
        if request.streaming:
            return Reply(content_type=kind, headers=headers, stream=_Audio(recital))
        return Reply(await _whole(recital), content_type=kind, headers=headers)

    about = Operation(
        method="POST",
        path="/audio/speech",
        summary="Read a text aloud",
        description="The answer is an audio file, sent while it is made when `streaming` is true.",
        tag="Audio",
        request=SpeechRequest,
        answer="audio/mpeg",
        errors=(400, 402, 403, 404, 413, 415, 429, 500, 502, 503, 504),
    )
    return [Route(create_speech, about)]


async def _whole(recital: Recital) -> bytes:
    pieces: list[bytes] = []
    try:
        while piece := await recital.more():
            pieces.append(piece)
    finally:
        await recital.aclose()
    return b"".join(pieces)


class _Audio:
    """The pieces of a file."""

    def __init__(self, recital: Recital) -> None:
        self._recital = recital

    def __aiter__(self) -> _Audio:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._recital.more():
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        await self._recital.aclose()


class _Events(_Audio):
    """The same as server-sent events, in OpenAI's form."""

    def __init__(self, recital: Recital) -> None:
        super().__init__(recital)
        self._over = False

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        if piece := await self._recital.more():
            return _event(AudioDelta(piece))
        self._over = True
        characters = self._recital.characters
        return _event(AudioDone(SpeechUsage(characters, 0, characters)))


def _event(message: AudioDelta | AudioDone) -> bytes:
    return b"data: " + msgspec.json.encode(message) + b"\n\n"

"""The transcription engine's app: `POST /v1/audio/transcriptions`, as OpenAI has it, and told segment by segment."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fondaco.engines.launch import Launch
from fondaco.engines.serving import Refusal, engine_app, kept_alive
from fondaco.engines.transcription import speech
from fondaco.engines.transcription.asked import Asked, asked_of
from fondaco.engines.transcription.languages import name_of
from fondaco.engines.transcription.model import load
from fondaco.engines.transcription.recording import BadAudio, NotAudio
from fondaco.engines.transcription.transcriber import Transcriber, Transcription
from fondaco.engines.transcription.wire import (
    Begun,
    Done,
    DurationUsage,
    Heard,
    Segment,
    Transcript,
    VerboseTranscript,
    Word,
)
from fondaco.media.audio_kind import NAMES
from fondaco.media.multipart import MAX_FILE_BYTES, BadForm, FileTooLarge, Form, boundary_of, read_form
from fondaco.media.subtitles import srt, vtt

MAX_SECONDS = 7200
"""Of one recording; another by the option `max_seconds`."""

MAX_BODY_BYTES = MAX_FILE_BYTES + 1024 * 1024
TOO_LARGE = "File exceeds the maximum allowed size of 25 MB."

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


def create(launch: Launch) -> Starlette:
    """Raises ImportError, and LoadFailed.

    Options: `max_seconds`, and those of the model's kind (see `whisper` and `parakeet`).
    """
    model = load(launch)
    speech.warm_up()
    max_seconds = float(launch.options.get("max_seconds", MAX_SECONDS))
    transcriber = Transcriber(model, max_seconds)

    async def transcribe(request: Request) -> Response:
        asked = asked_of(await _form(request), model.languages)
        try:
            begun = await transcriber.begin(asked.file.data, asked.wish)
        except NotAudio as bad:
            message = f"Invalid audio format: {bad}. Supported formats are {NAMES}."
            raise Refusal(400, "INVALID_AUDIO_FORMAT", message, "file") from None
        except BadAudio as bad:
            message = f"The audio could not be processed for transcription: {bad}."
            raise Refusal(422, "ASR_UPSTREAM_VALIDATION_FAILED", message, "file") from None
        if asked.stream:
            return StreamingResponse(kept_alive(_events(begun)), media_type="text/event-stream")
        return await _while_there(request, _whole(begun, asked))

    row = {"type": "asr", "languages": sorted(model.languages), "max_seconds": max_seconds}
    return engine_app(launch, [Route("/v1/audio/transcriptions", transcribe, methods=["POST"])], row)


async def _form(request: Request) -> Form:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise Refusal(413, "PAYLOAD_TOO_LARGE", TOO_LARGE, "file")
    try:
        boundary = boundary_of(request.headers.get("content-type", "").encode("latin-1"))
        if not boundary:
            raise Refusal(415, "INVALID_CONTENT_TYPE", "The request must be multipart/form-data")
        return read_form(bytes(body), boundary)
    except FileTooLarge:
        raise Refusal(413, "PAYLOAD_TOO_LARGE", TOO_LARGE, "file") from None
    except BadForm as bad:
        raise Refusal(400, "invalid_form", f"The form cannot be read: {bad}") from None


async def _events(transcription: Transcription) -> AsyncGenerator[bytes]:
    seconds = transcription.recording.seconds
    yield _event(Begun(round(seconds, 3)))
    text: list[str] = []
    while (segment := await transcription.more()) is not None:
        text.append(segment.text)
        yield _event(Heard(segment))
    yield _event(
        Done(
            text="".join(text).strip(),
            language=name_of(transcription.language),
            duration=round(seconds, 3),
            usage=_usage(seconds),
        )
    )


def _event(event: Begun | Heard | Done) -> bytes:
    return b"data: " + _encode(event) + b"\n\n"


async def _whole(transcription: Transcription, asked: Asked) -> Response:
    segments: list[Segment] = []
    while (segment := await transcription.more()) is not None:
        segments.append(segment)
    seconds = transcription.recording.seconds
    text = "".join(segment.text for segment in segments).strip()
    match asked.response_format:
        case "text":
            return Response(text + "\n", media_type="text/plain")
        case "srt":
            return Response(srt(segments), media_type="application/x-subrip")
        case "vtt":
            return Response(vtt(segments), media_type="text/vtt")
        case "json":
            return _json(Transcript(text=text, usage=_usage(seconds)))
        case "verbose_json":
            return _json(
                VerboseTranscript(
                    language=name_of(transcription.language),
                    duration=round(seconds, 3),
                    text=text,
                    words=_words(segments) if asked.wish.words else msgspec.UNSET,
                    segments=[msgspec.structs.replace(each, words=msgspec.UNSET) for each in segments]
                    if asked.segments
                    else msgspec.UNSET,
                    usage=_usage(seconds),
                )
            )


def _words(segments: list[Segment]) -> list[Word]:
    return [word for segment in segments if segment.words is not msgspec.UNSET for word in segment.words]


def _usage(seconds: float) -> DurationUsage:
    return DurationUsage(math.ceil(seconds))


def _json(value: Transcript | VerboseTranscript) -> Response:
    return Response(_encode(value), media_type="application/json")


async def _while_there(request: Request, work: Awaitable[T]) -> T:
    """The work's outcome; a client that leaves ends it."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

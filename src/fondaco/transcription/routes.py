"""POST /audio/transcriptions."""

from __future__ import annotations

import math
from itertools import chain

import msgspec
from msgspec import UNSET

from fondaco.errors import InvalidRequest, Issue
from fondaco.http.call import Call
from fondaco.http.forms import decode_form
from fondaco.http.model_headers import model_headers
from fondaco.http.openapi import Operation
from fondaco.http.reply import Reply
from fondaco.http.routing import Route
from fondaco.media.subtitles import srt, vtt
from fondaco.models.serving import LocalServing
from fondaco.transcription.service import Transcript, TranscriptionService
from fondaco.transcription.wire import (
    CharTimes,
    SegmentTimes,
    Timestamps,
    Transcription,
    TranscriptionRequest,
    Usage,
    VerboseTranscription,
)
from fondaco.upstream.transcription import Segment, Word

NO_FILE = "No audio file provided"

_encode = msgspec.json.Encoder().encode


def routes(transcriptions: TranscriptionService) -> list[Route]:
    async def create_transcription(call: Call) -> Reply:
        """POST /audio/transcriptions (CONTRACT 7.2)."""
        form = await call.form_body()
        request = decode_form(form, TranscriptionRequest)
        file = form.file("file")
        if file is None:
            raise InvalidRequest([Issue(code="custom", path=("file",), message=NO_FILE)], NO_FILE)
        made = await transcriptions.transcribe(
            call.admitted, request, file.data, words=request.timestamps or _lists(request, "word")
        )
        model = made.resolved.model
        call.model = model.id
        content_type, body = _written(request, made)
        local = isinstance(made.resolved.served.serving, LocalServing)
        return Reply(
            body, content_type=content_type, headers=model_headers(model.id, model.name, local=local)
        )

    about = Operation(
        method="POST",
        path="/audio/transcriptions",
        summary="Write down what is said in audio",
        description="`text`, `srt` and `vtt` are answered as text, `verbose_json` as OpenAI has it.",
        tag="Audio",
        request=TranscriptionRequest,
        form=True,
        files=("file",),
        answer=Transcription,
        export="text/plain",
        errors=(400, 402, 403, 404, 413, 415, 422, 429, 500, 502, 503, 504),
    )
    return [Route(create_transcription, about)]


def _lists(request: TranscriptionRequest, granularity: str) -> bool:
    return granularity in (request.timestamp_granularities or ())


def _written(request: TranscriptionRequest, made: Transcript) -> tuple[bytes, bytes]:
    """The answer's media type, and its body in the form that was asked for."""
    match request.response_format:
        case "text":
            return b"text/plain; charset=utf-8", made.text.encode()
        case "srt":
            return b"application/x-subrip; charset=utf-8", srt(_lines(made)).encode()
        case "vtt":
            return b"text/vtt; charset=utf-8", vtt(_lines(made)).encode()
        case "json":
            return b"application/json", _encode(_plain(request, made))
        case "verbose_json":
            return b"application/json", _encode(_verbose(request, made))


def _plain(request: TranscriptionRequest, made: Transcript) -> Transcription:
    return Transcription(
        text=made.text,
        duration=UNSET if made.seconds is None else made.seconds,
        timestamps=_timestamps(made) if request.timestamps else UNSET,
        model=made.resolved.model.id,
        usage=UNSET if made.seconds is None else Usage(seconds=math.ceil(made.seconds)),
    )


def _verbose(request: TranscriptionRequest, made: Transcript) -> VerboseTranscription:
    seconds = made.seconds or 0.0
    segments = [msgspec.structs.replace(segment, words=UNSET) for segment in made.segments]
    return VerboseTranscription(
        language=made.language,
        duration=seconds,
        text=made.text,
        words=(made.words or []) if _lists(request, "word") else UNSET,
        segments=segments if _lists(request, "segment") or not _lists(request, "word") else UNSET,
        timestamps=_timestamps(made) if request.timestamps else UNSET,
        model=made.resolved.model.id,
        usage=Usage(seconds=math.ceil(seconds)),
    )


def _lines(made: Transcript) -> list[Segment]:
    """What subtitles are made of; one of the whole file where its server tells no segments."""
    if made.segments or not made.text:
        return made.segments
    return [Segment(start=0.0, end=made.seconds or 0.0, text=made.text)]


def _timestamps(made: Transcript) -> Timestamps:
    return Timestamps(
        word=UNSET if made.words is None else made.words,
        segment=[SegmentTimes(segment.text.strip(), segment.start, segment.end) for segment in made.segments],
        char=UNSET if made.words is None else list(chain.from_iterable(map(_letters, made.words))),
    )


def _letters(word: Word) -> list[CharTimes]:
    step = (word.end - word.start) / len(word.word) if word.word else 0.0
    return [
        CharTimes(char, round(word.start + step * at, 3), round(word.start + step * (at + 1), 3))
        for at, char in enumerate(word.word)
    ]

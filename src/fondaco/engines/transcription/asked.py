"""What a form asks for, checked field by field."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

from fondaco.content import Sealed
from fondaco.engines.serving import Refusal
from fondaco.engines.transcription.languages import code_of
from fondaco.engines.transcription.wire import Wish
from fondaco.media.multipart import File, Form

ResponseFormat: TypeAlias = Literal["json", "text", "srt", "verbose_json", "vtt"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
GRANULARITIES = ("word", "segment")

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Asked(Sealed, kw_only=True):
    file: File
    wish: Wish
    response_format: ResponseFormat
    segments: bool
    """Segments are wanted in the answer."""
    stream: bool


def asked_of(form: Form, languages: frozenset[str]) -> Asked:
    """Raises Refusal, which names the field. `languages` are the codes that the model can be asked for."""
    file = form.file("file")
    if file is None:
        raise Refusal(400, "missing_file", "No audio file provided", "file")
    granularities = form.texts("timestamp_granularities")
    for each in granularities:
        if each not in GRANULARITIES:
            raise _invalid("timestamp_granularities", f"must be of {', '.join(GRANULARITIES)}")
    response_format = form.text("response_format") or "json"
    if response_format not in RESPONSE_FORMATS:
        raise _invalid("response_format", f"must be one of {', '.join(RESPONSE_FORMATS)}")
    wish = Wish(
        language=_language(form.text("language"), languages),
        prompt=form.text("prompt") or None,
        temperature=_temperature(form.text("temperature")),
        words="word" in granularities,
    )
    return Asked(
        file=file,
        wish=wish,
        response_format=response_format,
        segments="segment" in granularities or not granularities,
        stream=_boolean("stream", form.text("stream")),
    )


def _language(told: str | None, languages: frozenset[str]) -> str | None:
    if told is None or not told.strip():
        return None
    code = code_of(told)
    if code is None:
        raise _invalid("language", "must be an ISO-639-1 code such as en, or a language's English name")
    if languages and code not in languages:
        raise _invalid("language", f"must be one that this model knows: {', '.join(sorted(languages))}")
    return code


def _temperature(told: str | None) -> float:
    if told is None or not told.strip():
        return 0.0
    try:
        temperature = float(told)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        raise _invalid("temperature", "must be a number from 0 to 1")
    return temperature


def _boolean(name: str, told: str | None) -> bool:
    wanted = (told or "").strip().lower()
    if wanted in _TRUE:
        return True
    if wanted in _FALSE:
        return False
    raise _invalid(name, "must be true or false")


def _invalid(param: str, allowed: str) -> Refusal:
    return Refusal(400, "invalid_value", f"{param} {allowed}", param)

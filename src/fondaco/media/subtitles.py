"""Subtitles: SubRip (`srt`) and WebVTT (`vtt`), written from segments with times in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol


class Line(Protocol):
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def text(self) -> str: ...


def srt(lines: Iterable[Line]) -> str:
    """Numbered from 1. A blank line would end a subtitle, so there is none in any."""
    cues = (
        f"{number}\n{_time(line.start, ',')} --> {_time(line.end, ',')}\n{_bare(line.text)}\n\n"
        for number, line in enumerate(lines, 1)
    )
    return "".join(cues)


def vtt(lines: Iterable[Line]) -> str:
    """With `&`, `<` and `>` escaped, and with them an arrow that would be read as times."""
    cues = (
        f"{_time(line.start, '.')} --> {_time(line.end, '.')}\n{_escaped(line.text)}\n\n" for line in lines
    )
    return "WEBVTT\n\n" + "".join(cues)


def _time(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{milliseconds:03}"


_BREAKS = re.compile(r"\s*[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


def _bare(text: str) -> str:
    return _BREAKS.sub(" ", text.strip()).replace("-->", "→")


def _escaped(text: str) -> str:
    return _BREAKS.sub(" ", text.strip()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

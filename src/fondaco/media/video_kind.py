"""What kind of video file some bytes are: by what stands in them, never by a name or a type that somebody gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

VideoKind: TypeAlias = Literal["mp4", "mov", "mpeg", "webm"]

NAMES = "MP4, MOV, MPEG and WebM"
MEDIA_TYPES: Mapping[VideoKind, str] = {
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mpeg": "video/mpeg",
    "webm": "video/webm",
}

_HEAD = 64
# Files of the same form that are pictures or sound.
_OTHER_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis", b"M4A ", b"M4B ")
_OLD_MOV = (b"moov", b"mdat", b"wide")


def video_kind(data: bytes) -> VideoKind | None:
    """None for anything that is not one of ours. Looks at a few bytes alone."""
    head = data[:_HEAD]
    if head[4:8] == b"ftyp":
        if head[8:12] in _OTHER_BRANDS:
            return None
        return "mov" if head[8:12] == b"qt  " else "mp4"
    if head[4:8] in _OLD_MOV:
        return "mov"
    if head.startswith((b"\0\0\x01\xba", b"\0\0\x01\xb3")):
        return "mpeg"
    if head.startswith(b"\x1aE\xdf\xa3") and b"webm" in head:
        return "webm"
    return None

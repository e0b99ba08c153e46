"""What kind of audio file some bytes are: by what stands in them, never by a name or a type that somebody gave."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

AudioKind: TypeAlias = Literal["aac", "flac", "mp3", "mp4", "ogg", "wav", "webm"]
"""`mp4` covers M4A, `ogg` its forms for Opus, Vorbis and FLAC, `webm` all of Matroska, `aac` the bare stream (ADTS)."""

AUDIO_KINDS: tuple[AudioKind, ...] = get_args(AudioKind)
NAMES = "WAV, FLAC, MP3, M4A, AAC, MP4, OGG, OGA, Opus and WEBM"
"""As callers know them."""

MIN_BYTES = 16
"""No audio file is smaller; the heads of all kinds fit in."""

_MAGIC: dict[bytes, AudioKind] = {b"fLaC": "flac", b"OggS\0": "ogg", b"\x1aE\xdf\xa3": "webm"}
_ID3_HEADER = 10
_MPEG_BITRATES = range(1, 15)  # of four bits: neither `free` nor `bad`


def audio_kind(data: bytes | memoryview) -> AudioKind | None:
    """The kind of a file; None for anything that is not one of ours. Looks at a few bytes alone."""
    head = bytes(data[:MIN_BYTES])
    if len(head) < MIN_BYTES:
        return None
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[4:8] == b"ftyp":
        return "mp4"
    if head.startswith(b"ID3"):
        return _after_id3(data, head)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return _by_frame(head)


def _after_id3(data: bytes | memoryview, head: bytes) -> AudioKind | None:
    """A tag may stand before several kinds; its size is seven bits a byte."""
    if any(part & 0x80 for part in head[6:_ID3_HEADER]):
        return None
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    start = _ID3_HEADER + size + (_ID3_HEADER if head[5] & 0x10 else 0)
    after = bytes(data[start : start + MIN_BYTES])
    if after.startswith(b"fLaC"):
        return "flac"
    # Taggers like to leave some room after it.
    return _by_frame(after) if any(after) else "mp3" if len(data) > start + MIN_BYTES else None


def _by_frame(head: bytes) -> AudioKind | None:
    """By the header of the first MPEG or AAC frame, of which every field must be possible."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    layer = head[1] >> 1 & 3
    if layer == 0:
        # ADTS: twelve bits of sync, and one of 13 sampling rates.
        return "aac" if head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 0xF < 13 else None
    version = head[1] >> 3 & 3
    possible = version != 1 and head[2] >> 4 in _MPEG_BITRATES and head[2] >> 2 & 3 != 3
    return "mp3" if possible else None

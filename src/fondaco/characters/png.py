"""Text chunks of a PNG: read, and put in, without the picture ever being decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_TEXT = b"tEXt"
_HEAD = b"IHDR"
_END = b"IEND"
_ALL_TEXT = frozenset({_TEXT, b"zTXt", b"iTXt", b"eXIf"})
_MAX_KEYWORD = 79


class BadPng(ValueError):
    """Not a whole PNG; the text says why."""


def texts(png: bytes, *keywords: str) -> dict[str, bytes]:
    """The text chunks of these names; of a repeated one the last. Raises BadPng."""
    found: dict[str, bytes] = {}
    for kind, data in _chunks(png):
        if kind == _TEXT:
            name = bytes(data[: _MAX_KEYWORD + 1]).partition(b"\0")[0]
            if (keyword := name.decode("latin-1")) in keywords:
                found[keyword] = bytes(data[len(name) + 1 :])
    return found


def with_texts(png: bytes, chunks: Mapping[str, bytes]) -> bytes:
    """The same picture with these text chunks and no others. Raises BadPng."""
    made = bytearray(SIGNATURE)
    for kind, data in _chunks(png):
        if kind in _ALL_TEXT:
            continue
        if kind == _END:
            # At the end, where editors of cards put them.
            for keyword, text in chunks.items():
                _append(made, _TEXT, keyword.encode("latin-1") + b"\0" + text)
        _append(made, kind, bytes(data))
    return bytes(made)


def _append(made: bytearray, kind: bytes, data: bytes) -> None:
    made += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(png: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and data of each chunk, up to the end's. Raises BadPng where one is cut, wrong or missing."""
    if not png.startswith(SIGNATURE):
        raise BadPng("It is not a PNG picture")
    view, at, first = memoryview(png), len(SIGNATURE), True
    while at + 12 <= len(png):
        (size,) = struct.unpack_from(">I", png, at)
        kind = png[at + 4 : at + 8]
        end = at + 8 + size
        if end + 4 > len(png):
            break
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", png, end)[0]:
            raise BadPng("The picture is damaged: a checksum in it is wrong")
        if first and kind != _HEAD:
            break
        first = False
        yield kind, view[at + 8 : end]
        if kind == _END:
            return
        at = end + 4
    raise BadPng("The picture is cut off, or not a PNG")

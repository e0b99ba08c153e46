"""Cards as files: JSON, or a PNG that carries its JSON in base64."""

from __future__ import annotations

import base64
import binascii

from fondaco.characters import card, png
from fondaco.characters.card import BadCard, Read
from fondaco.content import Sealed

MAX_FILE = 32 * 1024 * 1024
"""Bytes of a file that is looked into."""

MAX_PICTURE = 8 * 1024 * 1024
"""Bytes of a picture that is kept; a larger one is left out."""

# V3's own chunk, and the one that V1 and V2 have, and V3 beside its own for older readers.
_V3, _V2 = "ccv3", "chara"


class Opened(Sealed, frozen=True):  # pyright: ignore[reportGeneralTypeIssues]
    """A file's card, and its picture as PNG without any text, if it has one."""

    read: Read
    picture: bytes | None = None


def opened(data: bytes) -> Opened:
    """The card in a file's bytes, by what they are and not by a name. Raises BadCard."""
    if len(data) > MAX_FILE:
        raise BadCard(f"It is larger than {MAX_FILE // 1024 // 1024} MiB")
    if not data.startswith(png.SIGNATURE):
        return Opened(card.read(data.removeprefix(b"\xef\xbb\xbf")))
    try:
        carried = png.texts(data, _V3, _V2)
        picture = png.with_texts(data, {})
    except png.BadPng as error:
        raise BadCard(str(error)) from None
    text = carried.get(_V3) or carried.get(_V2)
    if not text:
        raise BadCard("There is no character in this picture: it has no text chunk `ccv3` or `chara`")
    try:
        read = card.read(base64.b64decode(b"".join(text.split()), validate=True))
    except binascii.Error:
        raise BadCard("What the picture carries is not base64") from None
    if len(picture) > MAX_PICTURE:
        note = f"The picture is larger than {MAX_PICTURE // 1024 // 1024} MiB and was left out"
        return Opened(Read(read.card, read.document, (*read.notes, note)))
    return Opened(read, picture)


def as_png(document: bytes, picture: bytes) -> bytes:
    """The picture with its card, for readers of V2 and, where it is one of V3, for those of V3."""
    chunks = {_V2: base64.b64encode(card.in_spec(document, "2"))}
    if card.is_v3(document):
        chunks[_V3] = base64.b64encode(document)
    return png.with_texts(picture, chunks)

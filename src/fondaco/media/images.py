"""Pictures that callers send: recognised by content, measured by their header, decoded only within bounds."""

from __future__ import annotations

import base64
import io
import warnings

import msgspec
from PIL import Image, UnidentifiedImageError

MAX_BYTES = 25 * 1024 * 1024
MIN_SIDE = 64
# Four times what any vision model looks at; decoded it takes 256 MiB at the most.
MAX_PIXELS = 64 * 1024 * 1024

# What llama.cpp's own decoder reads; the rest is made PNG for it.
_PLAIN = frozenset({"PNG", "JPEG"})
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
_HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis")


class BadImage(ValueError):
    """The picture cannot be taken; the text says why and holds nothing of it."""


class ImageFacts(msgspec.Struct, frozen=True):
    format: str
    width: int
    height: int


def inspect(data: bytes) -> ImageFacts:
    """Format and size, from the header alone. Raises BadImage."""
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        raise BadImage("HEIF pictures are not read here: send PNG, JPEG, WebP or AVIF")
    with warnings.catch_warnings():
        # Pillow warns of large headers; our own bound below decides.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                facts = ImageFacts(image.format or "", *image.size)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise BadImage("it is not a PNG, JPEG, WebP or AVIF picture, or it is damaged") from None
    if min(facts.width, facts.height) < MIN_SIDE:
        raise BadImage(f"each side must have at least {MIN_SIDE} pixels")
    if facts.width * facts.height > MAX_PIXELS:
        raise BadImage(f"it must have at most {MAX_PIXELS} pixels")
    return facts


def plain_data_url(data: bytes, facts: ImageFacts) -> str:
    """A `data:` URL of the picture as PNG or JPEG, decoded and encoded anew where it is something else."""
    if facts.format not in _PLAIN:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                    made = io.BytesIO()
                    image.convert("RGB").save(made, "PNG", compress_level=1)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                raise BadImage("it is damaged") from None
        data, facts = made.getvalue(), ImageFacts("PNG", facts.width, facts.height)
    return data_url(data, facts)


def data_url(data: bytes, facts: ImageFacts) -> str:
    """A `data:` URL of the picture as it is."""
    return f"data:image/{facts.format.lower()};base64,{base64.b64encode(data).decode()}"

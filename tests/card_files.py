"""Cards for tests: as JSON, and in a PNG as editors of cards write it."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image, PngImagePlugin


def raw(card: dict[str, Any]) -> bytes:
    return json.dumps(card).encode()


def in_base64(card: dict[str, Any]) -> str:
    return base64.b64encode(raw(card)).decode()


def picture(**chunks: str) -> bytes:
    """A real PNG with these text chunks."""
    texts = PngImagePlugin.PngInfo()
    for keyword, text in chunks.items():
        texts.add_text(keyword, text)
    file = io.BytesIO()
    Image.new("RGB", (8, 12), (90, 20, 20)).save(file, "PNG", pnginfo=texts)
    return file.getvalue()

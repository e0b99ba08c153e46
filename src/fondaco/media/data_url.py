"""`data:` URLs."""

from __future__ import annotations

import base64
import binascii

NOT_BASE64 = "not valid base64"


class BadDataUrl(ValueError):
    """Not a base64 `data:` URL, or more than the limit. Carries nothing of it."""


def decode(url: str, limit: int) -> tuple[str, bytes]:
    """The media type as written (lower case) and the bytes. Raises BadDataUrl, also past `limit` bytes."""
    head, comma, payload = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise BadDataUrl("not a base64 data: URL")
    if len(payload) > limit * 4 // 3 + 4:
        raise BadDataUrl("too large")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise BadDataUrl(NOT_BASE64) from None
    if not data or len(data) > limit:
        raise BadDataUrl("too large" if data else "empty")
    return head.removeprefix("data:").removesuffix(";base64").lower(), data

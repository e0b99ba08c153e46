"""The text of a key, and the only form in which it is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Literal

Kind = Literal["INFERENCE", "ADMIN"]

_BLOCK = 64  # bytes that SHA-256 works on at once


def mint(kind: Kind) -> str:
    """A new key: 256 random bits as 43 characters behind the prefix that clients know (CONTRACT 2.1)."""
    return f"VENICE_{kind}_KEY_{secrets.token_urlsafe(32)}"


def digester(secret: bytes) -> Callable[[bytes], bytes]:
    """HMAC-SHA256 under `secret` (at most 64 bytes): what is stored and looked up in place of a key.

    Not a password hash: against 256 random bits there is no guessing to slow down, and a slow check would be our
    own denial of service.

    Every request pays for it, so the two hash states that depend on the secret alone are made once and copied:
    half the time of `hmac.digest`, which a test holds it equal to.
    """
    if len(secret) > _BLOCK:
        raise ValueError("the secret is longer than a block")
    padded = secret.ljust(_BLOCK, b"\0")
    inner_start = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded))
    outer_start = hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))

    def digest(token: bytes) -> bytes:
        inner = inner_start.copy()
        inner.update(token)
        outer = outer_start.copy()
        outer.update(inner.digest())
        return outer.digest()

    return digest

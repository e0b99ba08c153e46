"""Cursors: where a walk through the history stands and what it looks for, in a form only this server can read or make.

A cursor is sealed (the tag is the nonce, as in SIV), for row numbers would tell how much all accounts do; it is bound
to its account, and is good for a day.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from fondaco.errors import InvalidRequest

LIFETIME_SECONDS = 86_400

_TAG_BYTES = 16
_LONGEST = 512


class Place(msgspec.Struct, frozen=True, array_like=True):
    """A walk: its filters (see `Selection`), and the time and id of the last transfer that it has seen."""

    currency: str | None
    until: int | None
    page_size: int
    at: int
    id: int


class InvalidCursor(InvalidRequest):
    default = "Invalid or expired cursor; restart from the first page"


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    made: int
    place: Place


class Cursors:
    def __init__(self, secret: bytes) -> None:
        self._tag_key = _derived(secret, b"fondaco billing cursor tag")
        self._cipher_key = _derived(secret, b"fondaco billing cursor cipher")
        self._decoder = msgspec.msgpack.Decoder(_Sealed)

    def make(self, account_id: str, place: Place, now: int) -> str:
        """Of `[A-Za-z0-9_-]` and at most 512 long. `now` in Unix seconds."""
        plain = msgspec.msgpack.encode(_Sealed(now, place))
        tag = self._tag(account_id, plain)
        return _text(tag + self._mixed(tag, plain))

    def read(self, account_id: str, cursor: str, now: int) -> Place:
        """Raises InvalidCursor for one that was altered, is another account's or too old."""
        if len(cursor) > _LONGEST or not cursor.isascii():
            raise InvalidCursor
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidCursor from None
        tag, mixed = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
        plain = self._mixed(tag, mixed)
        if not hmac.compare_digest(tag, self._tag(account_id, plain)) or _text(sealed) != cursor:
            raise InvalidCursor
        try:
            found = self._decoder.decode(plain)
        except msgspec.MsgspecError:  # made by another release
            raise InvalidCursor from None
        if not 0 <= now - found.made < LIFETIME_SECONDS:
            raise InvalidCursor
        return found.place

    def _tag(self, account_id: str, plain: bytes) -> bytes:
        owner = account_id.encode()
        told = len(owner).to_bytes(4) + owner + plain
        return hmac.digest(self._tag_key, told, "sha256")[:_TAG_BYTES]

    def _mixed(self, tag: bytes, text: bytes) -> bytes:
        """Plain text sealed, or sealed text plain again."""
        stream = hashlib.shake_256(self._cipher_key + tag).digest(len(text))
        return bytes(one ^ other for one, other in zip(text, stream, strict=True))


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, purpose, "sha256")

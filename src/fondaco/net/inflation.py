"""Bodies out of their content encoding, in pieces of a bounded size, however much a few bytes blow up to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal, TypeAlias

PIECE = 64 * 1024
_SLICE = 4096
"""What is taken in at once: what stands behind a gzip member is copied for each member."""

Encoding: TypeAlias = Literal["identity", "gzip", "deflate"]

ENCODINGS = "gzip, deflate"
"""What may be asked for. Brotli and Zstandard have no decoder here, so nothing of theirs is ever blown up."""

_NAMES: dict[str, Encoding] = {
    "": "identity",
    "identity": "identity",
    "gzip": "gzip",
    "x-gzip": "gzip",
    "deflate": "deflate",
}


class Damaged(ValueError):
    """Not what its encoding says."""


def encoding_of(header: str) -> Encoding | None:
    """The encoding that `Content-Encoding` names; None for any other and for several at once."""
    return _NAMES.get(header.strip().lower())


class Inflation:
    """Gives out what `feed` takes in. A gzip body may have several members, one after the other."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._stream = (
            None if encoding == "identity" else zlib.decompressobj(31 if encoding == "gzip" else 15)
        )
        self._begun = False
        self._over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of at most PIECE bytes, some of them empty: each stands for a bounded amount of work. Raises Damaged."""
        if self._stream is None:
            yield from (data[at : at + PIECE] for at in range(0, len(data), PIECE))
            return
        for at in range(0, len(data), _SLICE):
            yield from self._inflated(data[at : at + _SLICE])

    @property
    def whole(self) -> bool:
        return self._stream is None or not self._begun or self._stream.eof

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        assert self._stream is not None
        made = b""
        while not self._over and (data or len(made) == PIECE):  # a full piece may have more behind it
            if self._stream.eof:
                if self._encoding != "gzip" or data[:1] != b"\x1f":
                    self._over = True  # whatever stands after the end
                    return
                self._stream = zlib.decompressobj(31)
            made = self._inflate(data)
            data = self._stream.unconsumed_tail or self._stream.unused_data
            yield made

    def _inflate(self, data: bytes) -> bytes:
        assert self._stream is not None
        first, self._begun = not self._begun, True
        try:
            return self._stream.decompress(data, PIECE)
        except zlib.error:
            if not first or self._encoding != "deflate":
                raise Damaged from None
        # Many servers say `deflate` and send it without zlib's head.
        self._stream = zlib.decompressobj(-15)
        try:
            return self._stream.decompress(data, PIECE)
        except zlib.error:
            raise Damaged from None

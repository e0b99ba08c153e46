"""Heads of requests and answers as bytes: what they are made of, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from fondaco.http.reply import Header

JSON: Header = (b"content-type", b"application/json")
CLOSE = b"connection: close"
KEEP_ALIVE = b"connection: keep-alive"
CHUNKED = b"transfer-encoding: chunked"
BODILESS = frozenset({204, 304})
"""Statuses of answers that have neither a body nor a length."""
BAD_REQUEST = (400, b'{"error":"Invalid HTTP request","code":"INVALID_REQUEST"}')
HEAD_TOO_LARGE = (
    431,
    b'{"error":"Request headers exceed the maximum allowed size.","code":"PAYLOAD_TOO_LARGE"}',
)
SLASH = ord("/")

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}


class HeadTooLarge(Exception):
    """Request line and headers are longer than is taken."""


def head(status: int, headers: Sequence[Header], lines: list[bytes]) -> bytes:
    """An answer's head. `lines` come first. Raises ValueError for a header that holds a line break."""
    made = b"\r\n".join((_STATUS_LINES[status], *lines, *map(b": ".join, headers), b"", b""))
    count = len(lines) + len(headers) + 2
    if made.count(b"\n") != count or made.count(b"\r") != count:
        raise ValueError("a header holds a line break")
    return made


def head_size(url: bytes, headers: dict[bytes, bytes]) -> int:
    """How long a request's head is, near enough."""
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers.items())


def origin_form(target: bytes) -> bytes:
    """The path of a target that is none itself: a whole URL's; `*` and a CONNECT's address stay."""
    _, whole, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if whole else target


def without_upgrade(method: bytes, url: bytes, version: str, headers: dict[bytes, bytes]) -> bytes:
    """A request's head again, without its wish for another protocol."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    lines += [b"%b: %b" % header for header in headers.items() if header[0].lower() != b"upgrade"]
    return b"\r\n".join((*lines, b"", b""))

"""Heads of requests and answers as bytes: what they are made of, and how long they are."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from fondaco.http.reply import Header

JSON: Header = (b"content-type", b"application/json")
CLOSE = b"connection: close\r\n"
KEEP_ALIVE = b"connection: keep-alive\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
BODILESS = frozenset({204, 304})
"""Statuses of answers that have neither a body nor a length."""
BAD_REQUEST = (400, b'{"error":"Invalid HTTP request","code":"INVALID_REQUEST"}')
HEAD_TOO_LARGE = (
    431,
    b'{"error":"Request headers exceed the maximum allowed size.","code":"PAYLOAD_TOO_LARGE"}',
)
SLASH = ord("/")

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class HeadTooLarge(Exception):
    """Request line and headers are longer than is taken."""


def head(status: int, headers: Iterable[Header], lines: list[bytes]) -> bytes:
    """An answer's head. `lines` are whole ones and come first. Raises ValueError for a header that holds a line
    break."""
    lines += [b"%b: %b\r\n" % header for header in headers]
    lines.append(b"\r\n")
    made = _STATUS_LINES[status] + b"".join(lines)
    count = len(lines) + 1
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

"""`multipart/form-data`, read from a whole body and written as one, in memory alone.

A body is looked at once before the library's parser takes it: what could make that slow is refused by counting.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from fondaco.content import Sealed

MAX_FILE_BYTES = 25 * 1024 * 1024
MAX_PARTS = 64
MAX_FIELD_BYTES = 64 * 1024
MAX_HEADERS = 8
"""Of one part."""
MAX_HEADER_BYTES = 4096
"""In one header line."""
MAX_NAME_BYTES = 256

_PADDING = re.compile(rb"[ \t]{16}")
_BOUNDARY = re.compile(rb"[ -~]{0,69}[!-~]")


class BadForm(ValueError):
    """Not a form, or more than is taken; the text says why and holds nothing of it."""


class FileTooLarge(BadForm):
    """A file has more than MAX_FILE_BYTES."""


class File(Sealed):
    """`data` is a view on the body that it came in."""

    data: memoryview
    name: str = ""
    content_type: str = ""


class Form(Sealed):
    """Fields and files by name, those of one name in the order in which they came."""

    fields: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])
    files: dict[str, list[File]] = msgspec.field(default_factory=dict[str, list[File]])

    def text(self, name: str) -> str | None:
        """The field's last value."""
        values = self.fields.get(name)
        return values[-1] if values else None

    def texts(self, name: str) -> list[str]:
        """The values of a list, which is written `name[]` or as `name` several times."""
        return [*self.fields.get(name, ()), *self.fields.get(f"{name}[]", ())]

    def file(self, name: str) -> File | None:
        files = self.files.get(name)
        return files[-1] if files else None


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a `Content-Type` names; empty for any other type. Raises BadForm where a form has none."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return b""
    boundary = options.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadForm("its Content-Type names no boundary of 1 to 70 characters")
    return boundary


def read_form(body: bytes, boundary: bytes) -> Form:
    """Raises BadForm, and FileTooLarge."""
    _check_delimiters(body, boundary)
    reading = _Reading()
    parser = MultipartParser(
        boundary, reading.callbacks(), max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_BYTES
    )
    try:
        parser.write(body)
    except FormParserError:  # its text, and what it logs, may quote the body
        raise BadForm("it is not well-formed multipart/form-data") from None
    if not reading.ended:
        raise BadForm("it ends before its last boundary")
    return reading.form


def write_form(fields: Iterable[tuple[str, str]], files: Sequence[tuple[str, File]]) -> tuple[bytes, bytes]:
    """The `Content-Type` and the body of a form. Names must be plain: no quotes, no line breaks."""
    boundary = secrets.token_hex(16).encode()
    pieces: list[bytes | memoryview] = []
    for name, value in fields:
        pieces += (_head(boundary, f'name="{name}"'), value.encode(), b"\r\n")
    for name, file in files:
        head = _head(boundary, f'name="{name}"; filename="{file.name}"', file.content_type)
        pieces += (head, file.data, b"\r\n")
    pieces.append(b"--" + boundary + b"--\r\n")
    return b"multipart/form-data; boundary=" + boundary, b"".join(pieces)


def _head(boundary: bytes, described: str, content_type: str = "") -> bytes:
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    return b"--" + boundary + f"\r\nContent-Disposition: form-data; {described}{kind}\r\n\r\n".encode()


def _check_delimiters(body: bytes, boundary: bytes) -> None:
    """The parser steps byte by byte through what follows a delimiter, so there may be little of that."""
    delimiter = b"--" + boundary
    at = body.find(delimiter)
    for _ in range(MAX_PARTS + 1):
        if at < 0:
            return
        at += len(delimiter)
        if _PADDING.match(body, at):
            raise BadForm("it is not well-formed multipart/form-data")
        at = body.find(delimiter, at)
    if at >= 0:
        raise BadForm(f"it has more than {MAX_PARTS} parts, or its boundary stands in one of them")


class _Reading:
    """What the parser has told so far. As it is given the whole body at once, each part's data comes in one piece."""

    def __init__(self) -> None:
        self.form = Form()
        self.ended = False
        self._header = ""
        self._headers: dict[str, bytes] = {}
        self._data = memoryview(b"")

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._value,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._headers = {}
        self._data = memoryview(b"")

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header = data[start:end].decode("ascii").lower()

    def _value(self, data: bytes, start: int, end: int) -> None:
        self._headers[self._header] = data[start:end]

    def _take(self, data: bytes, start: int, end: int) -> None:
        self._data = memoryview(data)[start:end]

    def _finish(self) -> None:
        self.ended = True

    def _end(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        raw = options.get(b"name")
        if kind != b"form-data" or raw is None:
            raise BadForm("one of its parts has no name")
        if len(raw) > MAX_NAME_BYTES:
            raise BadForm(f"the name of one of its parts has more than {MAX_NAME_BYTES} bytes")
        name = raw.decode("utf-8", "replace")
        if b"filename" in options:
            if len(self._data) > MAX_FILE_BYTES:
                raise FileTooLarge
            file_name = options[b"filename"].decode("utf-8", "replace")
            content_type = self._headers.get("content-type", b"").decode("latin-1")
            self.form.files.setdefault(name, []).append(File(self._data, file_name, content_type))
            return
        if len(self._data) > MAX_FIELD_BYTES:
            raise BadForm(f"one of its fields has more than {MAX_FIELD_BYTES} bytes")
        try:
            value = str(self._data, "utf-8")
        except UnicodeDecodeError:
            raise BadForm("one of its fields is not UTF-8") from None
        self.form.fields.setdefault(name, []).append(value)

"""JSON bodies into structs, and what is wrong with those that do not fit.

A good body costs one msgspec decode. Only a refused one is read a second time, by `http/issues.py`, which walks the
same structs and names every fault with its path.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Raw

from fondaco.errors import InvalidRequest, Issue, MalformedJson
from fondaco.http.issues import find_issues

T = TypeVar("T")

MAX_VALUES = 300_000
"""Members and elements in one body. A body of 35 MB may hold millions, each a Python object."""


class Forgiving(Protocol):
    """A type with a second chance for bodies that its strict reading refused."""

    @staticmethod
    def respelled(fields: dict[str, Raw]) -> dict[str, Raw] | None:
        """The body's members in the spelling that the type reads, or None if there is nothing to respell.

        May raise an InvalidRequest that is to be said instead of the type's own issues.
        """
        ...


def decode(body: bytes, type_: type[T]) -> T:
    """`body` as a `type_`. Raises MalformedJson, or InvalidRequest with an issue for each fault."""
    decoder = _decoder(type_)
    if len(body) > MAX_VALUES:
        _check_size(body)
    try:
        value: T = decoder.decode(body)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedJson from None
    else:
        # msgspec checks the encoding of the strings it makes, not of those it skips or leaves raw.
        if not body.isascii():
            _check_encoding(body)
        return value
    return _second_reading(body, type_)


def error_details(issues: Iterable[Issue]) -> dict[str, Any]:
    """The issues as zod's `.format()` tree: `{"_errors": […], "<field>": {"_errors": […], …}}`."""
    root: dict[str, Any] = {"_errors": []}
    for issue in issues:
        node = root
        for part in issue.path:
            key = str(part)
            if key == "_errors":
                break
            node = node.setdefault(key, {"_errors": []})
        node["_errors"].append(issue.message)
    return root


@cache
def _decoder(type_: type[T]) -> msgspec.json.Decoder[T]:
    return msgspec.json.Decoder(type_)


def _second_reading(body: bytes, type_: type[T]) -> T:
    _check_encoding(body)
    try:
        if (respelled := _respelled(body, type_)) is not None:
            try:
                return _decoder(type_).decode(respelled)
            except msgspec.ValidationError:
                body = respelled
        issues = find_issues(body, type_)
    except (msgspec.DecodeError, RecursionError):
        raise MalformedJson from None
    raise InvalidRequest(issues)


def _respelled(body: bytes, type_: type[object]) -> bytes | None:
    respell: Callable[[dict[str, Raw]], dict[str, Raw] | None] | None = getattr(type_, "respelled", None)
    if respell is None:
        return None
    try:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
    except msgspec.ValidationError:
        return None
    members = respell(fields)
    return None if members is None else msgspec.json.encode(members)


def _check_encoding(body: bytes) -> None:
    """Raises MalformedJson unless `body` is UTF-8. A large one is looked at in pieces, to make no copy of it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    piece = 1 << 20
    try:
        for start in range(0, len(body), piece):
            decoder.decode(body[start : start + piece])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise MalformedJson from None


# A string, closed or not: it always matches and never looks back, so a hostile body cannot make it slow.
_string = re.compile(rb'"(?:[^"\\]++|(?:\\.)++)*+"?', re.DOTALL)


def _check_size(body: bytes) -> None:
    """Raises InvalidRequest when more than MAX_VALUES values stand in `body`, before any of them is made.

    Commas tell: their number in the whole body is quickly known and nearly always small enough. Only if it is not
    are those inside strings told apart.
    """
    if body.count(b",") <= MAX_VALUES:
        return
    bare, strings = _string.subn(b"", body, count=2 * MAX_VALUES)
    if strings == 2 * MAX_VALUES or bare.count(b",") > MAX_VALUES:
        message = f"Request must contain at most {MAX_VALUES} values"
        raise InvalidRequest([Issue(code="too_big", path=(), message=message)])

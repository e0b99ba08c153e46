"""What people say to models and what models say back, as a type that cannot leak by accident.

`Content` holds one value. `Sealed` is the base of every struct that carries such values. Neither can be printed,
formatted or pickled: `repr` gives a placeholder, so that tracebacks and debuggers stay usable, and `str`, `format`
and pickling raise `ContentLeak`, so that a careless log line fails in the first test that meets it.
"""

from __future__ import annotations

from typing import Any, Generic, NoReturn, TypeVar

import msgspec

T = TypeVar("T")

PLACEHOLDER = "<content>"


class ContentLeak(TypeError):
    """Content was about to be turned into text or bytes outside the way to its owner."""

    def __init__(self) -> None:
        super().__init__("content cannot be printed, formatted or pickled")


def _refuse_str(self: object) -> NoReturn:
    raise ContentLeak


def _refuse_format(self: object, spec: str, /) -> NoReturn:
    raise ContentLeak


def _refuse_pickle(self: object, protocol: object = None, /) -> NoReturn:
    raise ContentLeak


def _placeholder(self: object) -> str:
    return PLACEHOLDER


class Content(Generic[T]):
    """One value that belongs to a caller: a body, a prompt, a completion, a picture."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """The value itself. Each call is a place to look at in review: it may go to an engine or to its owner."""
        return self._value

    __repr__ = _placeholder
    __str__ = _refuse_str
    __format__ = _refuse_format
    __reduce_ex__ = _refuse_pickle  # pyright: ignore[reportAssignmentType]


class Sealed(msgspec.Struct):
    """Base of structs whose fields are content. Wire types of requests and answers derive from it."""

    __repr__ = _placeholder
    __str__ = _refuse_str
    __format__ = _refuse_format
    __reduce_ex__ = _refuse_pickle  # pyright: ignore[reportAssignmentType]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []

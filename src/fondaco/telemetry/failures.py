"""An exception as a log may tell it: its type and where in our code, never its text and never a local.

The text of an exception often repeats what it choked on: a JSON decoder quotes the body, a client quotes the URL.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import cast

import fondaco
from fondaco.errors import FondacoError
from fondaco.telemetry.fields import is_word

_ROOT = str(Path(fondaco.__file__).parent) + "/"
_DEEPEST = 8
_CAUSES = 4
_LONGEST = 190


def describe(error: BaseException) -> dict[str, str]:
    """Fields of a log line: `error` (type), `at` (our frames, the innermost first), `cause` (types it came from).

    A FondacoError adds its `code`, an OSError its symbolic `reason` such as `ENOSPC`.
    """
    told = {"error": _type_name(error)}
    if isinstance(error, FondacoError):
        told["code"] = error.code
    if isinstance(error, OSError) and isinstance(error.errno, int):
        told["reason"] = errno.errorcode.get(error.errno, "unknown")
    if frames := _frames(error.__traceback__):
        told["at"] = frames
    if causes := " ".join(_type_name(cause) for cause in _causes(error)):
        told["cause"] = causes[:_LONGEST]
    return told


def _type_name(error: BaseException) -> str:
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.").replace("<locals>.", "")
    return name if is_word(name) and _is_written(kind) else "unnamed"


def _is_written(kind: type[BaseException]) -> bool:
    """Whether the name stands in some module's code: a class made while running may be named after anything."""
    if "<locals>" in kind.__qualname__:
        return True
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


def _frames(trace: TracebackType | None) -> str:
    ours: list[str] = []
    for frame, line in traceback.walk_tb(trace):
        file = frame.f_code.co_filename
        if file.startswith(_ROOT):
            ours.append(f"{file[len(_ROOT) :]}:{line}")
    return " ".join(ours[: -_DEEPEST - 1 : -1])[:_LONGEST]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What it was raised from, and the members of a group."""
    members = cast("tuple[BaseException, ...]", getattr(error, "exceptions", ()))
    if BaseExceptionGroup in type(error).__mro__:
        yield from members[:_CAUSES]
    origin = error
    for _ in range(_CAUSES):
        before = origin.__cause__ or (None if origin.__suppress_context__ else origin.__context__)
        if before is None:
            return
        yield before
        origin = before

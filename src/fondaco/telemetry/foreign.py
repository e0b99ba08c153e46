"""What libraries log, with their words taken out.

An error text of asyncio, aiohttp, SQLAlchemy or a model hub can quote a body, a URL or a bound parameter. So the text
of each stdlib record is dropped as the record is made, before any handler can see it, also one that a library adds
later. What stays is who logged, from which line, how severe, and the type of the exception.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Final, cast

from fondaco.telemetry.failures import describe
from fondaco.telemetry.fields import is_word

Tell = Callable[[str, str, Mapping[str, object]], None]

HARMLESS: Final = frozenset(
    {
        "Started server process [%d]",
        "Finished server process [%d]",
        "Waiting for application startup.",
        "Application startup complete.",
        "Application startup failed. Exiting.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        "Application shutdown failed. Exiting.",
        "Uvicorn running on %s://%s:%d (Press CTRL+C to quit)",
        "Uvicorn running on unix socket %s (Press CTRL+C to quit)",
        "Shutting down",
        "Waiting for connections to close. (CTRL+C to force quit)",
        "Waiting for background tasks to complete. (CTRL+C to force quit)",
        "Cancel %s running task(s), timeout graceful shutdown exceeded",
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
        "Exception in ASGI application\n",
        "ASGI callable returned without starting response.",
        "ASGI callable returned without completing response.",
    }
)
"""Texts of uvicorn that are constant, or filled with nothing but our own address and process id."""

LIBRARIES: Final = (
    "aiohttp",
    "alembic",
    "asyncio",
    "concurrent.futures",
    "filelock",
    "huggingface_hub",
    "py.warnings",
    "sqlalchemy",
    "urllib3",
    "uvicorn",
    "uvicorn.error",
)
_ANSWERED_BY_US: Final = ("uvicorn.access", "aiohttp.access")  # they print paths with their query
_FILL = re.compile(r"%[sd]")


def capture(tell: Tell, level: int) -> None:
    """Send all stdlib records through `tell(level, event, fields)`; libraries below WARNING only when debugging."""
    logging.setLogRecordFactory(_BareRecord)
    logging.raiseExceptions = False  # else a failing handler prints the record's arguments
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers[:] = [_Handler(tell)]
    root.setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
        library.setLevel(logging.NOTSET)
        # Some bring a handler of their own when they are imported: it would add an empty line to each of ours.
        library.addHandler = _keep_out  # pyright: ignore[reportAttributeAccessIssue]
    logging.getLogger("uvicorn").setLevel(level)
    for name in _ANSWERED_BY_US:
        silent = logging.getLogger(name)
        silent.handlers.clear()
        silent.propagate = False
        silent.setLevel(logging.CRITICAL + 1)


class _BareRecord(logging.LogRecord):
    """A record without its text, its arguments and its traceback."""

    def __init__(
        self,
        name: str,
        level: int,
        pathname: str,
        lineno: int,
        msg: object,
        args: object,
        exc_info: object,
        func: str | None = None,
        sinfo: str | None = None,
        **_: object,
    ) -> None:
        super().__init__(name, level, pathname, lineno, _harmless(msg, args), None, None, func, None)
        self.failure: dict[str, str] = {}
        raised = cast("tuple[object, ...]", exc_info)[1] if isinstance(exc_info, tuple) else msg
        if isinstance(raised, BaseException):
            self.failure = describe(raised)


class _Handler(logging.Handler):
    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name if is_word(record.name) else "unnamed"}
        fields["source"] = f"{PurePath(record.pathname).name}:{record.lineno}"
        if isinstance(record, _BareRecord):
            if record.msg:
                fields["message"] = record.msg
            fields.update(record.failure)
        self._tell(_level_name(record.levelno), "library.said", fields)


def _keep_out(_: logging.Handler) -> None:
    """In place of `Logger.addHandler`."""


def _harmless(msg: object, args: object) -> str:
    """The text of a known message, filled in; of any other, nothing."""
    if not isinstance(msg, str) or msg not in HARMLESS:
        return ""
    values = list(cast("tuple[object, ...]", args)) if isinstance(args, tuple) else []

    def fill(found: re.Match[str]) -> str:
        value = values.pop(0) if values else ""
        if isinstance(value, int) or (isinstance(value, str) and is_word(value)):
            return str(value)
        return "-"

    return _FILL.sub(fill, msg).strip()


def _level_name(level: int) -> str:
    for least, name in ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info")):
        if level >= least:
            return name
    return "debug"

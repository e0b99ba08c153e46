"""Logging that cannot leak: every line, ours or a library's, is built from declared fields only.

`logger(name)` is safe before `configure` too: the pipeline is its own, not structlog's global one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol, cast

import structlog
import structlog.types

from fondaco.settings import LogSettings
from fondaco.telemetry import foreign, hooks
from fondaco.telemetry.failures import describe
from fondaco.telemetry.fields import DROPPED, Field, scrub
from fondaco.telemetry.lines import Render, Write, as_json, as_text, form, write_stderr


class BoundLogger(Protocol):
    """A log of one module. `event` is a constant dotted name, such as `engine.started`; fields are declared ones.

    `exc_info` takes an exception; its type and our frames are written, its text is not.
    """

    def bind(self, **fields: Field) -> BoundLogger: ...
    def debug(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Field) -> None: ...
    def info(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Field) -> None: ...
    def warning(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Field) -> None: ...
    def error(self, event: str, /, *, exc_info: BaseException | None = None, **fields: Field) -> None: ...


def configure(settings: LogSettings, *, strict: bool = False, write: Write = write_stderr) -> None:
    """Point all logging, the libraries' too, and the hooks for lost exceptions at one safe pipeline.

    `strict` (tests) makes a refused field raise LeakRefused where it was logged.
    """
    _output.level = logging.getLevelNamesMapping()[settings.level.upper()]
    _output.render = as_text if form(settings.format) == "text" else as_json
    _output.write = write
    _output.strict = strict
    # A part of a library that asks structlog itself gets the same pipeline.
    structlog.configure(
        processors=[_emit], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False
    )
    foreign.capture(_tell, _output.level)
    hooks.install(logger("fondaco.process"))


def logger(name: str) -> BoundLogger:
    """The log of the module `name` (give `__name__`)."""
    lazy: structlog.types.BindableLogger = structlog.wrap_logger(
        _NOWHERE,
        processors=[_emit],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
    )
    return cast("BoundLogger", lazy.bind(logger=name))


def install_loop_handler(loop: asyncio.AbstractEventLoop) -> None:
    """Tasks and callbacks that fail unseen are logged without asyncio's text, which quotes what they held."""
    loop.set_exception_handler(hooks.loop_handler(logger("fondaco.loop")))


@dataclasses.dataclass
class _Output:
    level: int = logging.INFO
    render: Render = as_json
    write: Write = write_stderr
    strict: bool = False


_output = _Output()
_NOWHERE = (
    object()
)  # structlog wants a logger at the end of its pipeline; ours never lets an event come so far


def _emit(_: object, method: str, fields: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The pipeline: drop what is below the level, reduce an exception, scrub, render, write."""
    level = "error" if method == "exception" else method
    if logging.getLevelNamesMapping().get(level.upper(), logging.ERROR) >= _output.level:
        rest = dict(fields)
        event = rest.pop("event", None)
        error: object = rest.pop("exc_info", None)
        name, kept = scrub(event, rest, strict=_output.strict)
        if isinstance(error, BaseException):
            kept.update(describe(error))
        elif error is not None and error is not False:
            kept["error"] = DROPPED
        _tell(level, name, kept)
    raise structlog.DropEvent


def _tell(level: str, event: str, fields: Mapping[str, object]) -> None:
    _output.write(_output.render(level, event, fields).encode())

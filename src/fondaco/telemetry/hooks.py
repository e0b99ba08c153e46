"""The last stops of an exception: the interpreter, a thread, a finaliser, the event loop. None prints its text."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fondaco.telemetry.logs import BoundLogger

LoopHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


def install(log: BoundLogger) -> None:
    """Take over `sys.excepthook`, `sys.unraisablehook` and `threading.excepthook`."""

    def process_failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            log.warning("process.interrupted")
        else:
            log.error("process.failed", exc_info=error)

    def finaliser_failed(unraisable: sys.UnraisableHookArgs) -> None:
        log.error("finaliser.failed", exc_info=unraisable.exc_value)

    def thread_failed(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            log.error("thread.failed", exc_info=args.exc_value)

    sys.excepthook = process_failed
    sys.unraisablehook = finaliser_failed
    threading.excepthook = thread_failed


def loop_handler(log: BoundLogger) -> LoopHandler:
    """For `loop.set_exception_handler`. Of the context only the exception is looked at."""

    def task_failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error: object = context.get("exception")
        log.error("task.failed", exc_info=error if isinstance(error, BaseException) else None)

    return task_failed

"""Our own log lines: what is let through, what is refused, and what of an exception is told."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from enum import Enum, IntEnum
from typing import Any

import pytest

from fondaco.content import Content
from fondaco.errors import ModelOffline
from fondaco.settings import LogSettings
from fondaco.telemetry import foreign
from fondaco.telemetry.fields import DROPPED, LeakRefused
from fondaco.telemetry.logs import configure, install_loop_handler, logger

CANARY = "canary-5e1d7a"


class Lines(list[bytes]):
    def text(self) -> str:
        return b"".join(self).decode()

    def last(self) -> dict[str, Any]:
        return json.loads(self[-1])


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What production would write; everything that `configure` replaces is put back."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    root, factory = logging.getLogger(), logging.getLogRecordFactory()
    handlers, level, raising, show = (
        root.handlers[:],
        root.level,
        logging.raiseExceptions,
        warnings.showwarning,
    )
    written = Lines()
    configure(LogSettings(format="json", level="debug"), write=written.append)
    yield written
    configure(LogSettings())
    logging.captureWarnings(False)
    warnings.showwarning = show
    logging.setLogRecordFactory(factory)
    root.handlers[:], logging.raiseExceptions = handlers, raising
    root.setLevel(level)
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    for name in foreign.LIBRARIES:
        vars(logging.getLogger(name)).pop("addHandler", None)


def test_declared_fields_are_written(lines: Lines) -> None:
    logger("fondaco.x").info("engine.started", model="a/b-1.5:c", seconds=1.5, pid=7, ready=True, port=None)
    line = lines.last()
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info",
        "event": "engine.started",
        "logger": "fondaco.x",
        "model": "a/b-1.5:c",
        "seconds": 1.5,
        "pid": 7,
        "ready": True,
        "port": None,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", CANARY),  # nobody declared it
        ("prompt", 1),
        ("status", CANARY),  # a number's name with words in it
        ("model", f"tell me about {CANARY}"),
        ("path", f"{CANARY}\nforged line"),
        ("reason", f'"{CANARY}"'),
        ("reason", CANARY * 40),
        ("reason", CANARY.encode()),
        ("count", int.from_bytes(CANARY.encode())),
        ("code", [CANARY]),
        ("code", Content(CANARY)),
    ],
)
def test_a_leaky_field_raises_in_tests_and_is_dropped_in_production(
    lines: Lines, field: str, value: Any
) -> None:
    log = logger("fondaco.x")
    log.info("engine.started", **{field: value})
    assert lines.last()[field] == DROPPED
    configure(LogSettings(format="json"), strict=True, write=lines.append)
    with pytest.raises(LeakRefused) as refused:
        log.info("engine.started", **{field: value})
    assert field in str(refused.value)
    assert CANARY not in lines.text() + str(refused.value)


def test_a_field_named_by_content_loses_its_name_too(lines: Lines) -> None:
    logger("fondaco.x").info("engine.started", **{f"say {CANARY}": 1})
    assert lines.last()[DROPPED] == DROPPED
    assert CANARY not in lines.text()


@pytest.mark.parametrize("event", [f"said {CANARY}", CANARY, f"engine.{CANARY}", "Engine started"])
def test_an_event_that_is_not_a_constant_name_is_refused(lines: Lines, event: str) -> None:
    logger("fondaco.x").info(event)
    assert lines.last()["event"] == DROPPED
    configure(LogSettings(), strict=True, write=lines.append)
    with pytest.raises(LeakRefused):
        logger("fondaco.x").info(event)
    assert CANARY not in lines.text()


def test_a_string_that_prints_more_than_it_is_does_not(lines: Lines) -> None:
    class Sly(str):
        __slots__ = ()

        def __str__(self) -> str:
            return CANARY

    logger("fondaco.x").info("engine.started", model=Sly("fine"))
    assert lines.last()["model"] == "fine"


def test_enums_are_written_by_their_names(lines: Lines) -> None:
    class State(Enum):
        READY = CANARY

    class Code(IntEnum):
        GONE = 3

    logger("fondaco.x").info("engine.started", state=State.READY, code=Code.GONE)
    assert lines.last()["state"] == "READY"
    assert lines.last()["code"] == "GONE"


def test_an_exception_is_told_without_its_text(lines: Lines) -> None:
    try:
        try:
            json.loads(CANARY)
        except ValueError as error:
            raise RuntimeError(CANARY) from error
    except RuntimeError as error:
        logger("fondaco.x").error("engine.failed", exc_info=error)
    line = lines.last()
    assert line["error"] == "RuntimeError"
    assert line["cause"] == "json.decoder.JSONDecodeError"
    assert CANARY not in lines.text()


def test_an_exception_names_our_own_frames_innermost_first(lines: Lines) -> None:
    try:
        Content(CANARY).__reduce_ex__(4)
    except TypeError as error:
        logger("fondaco.x").error("engine.failed", exc_info=error)
    assert lines.last()["at"].startswith("content.py:")


def test_our_errors_and_the_systems_are_told_by_code(lines: Lines) -> None:
    logger("fondaco.x").error("engine.failed", exc_info=ModelOffline(CANARY))
    assert lines.last()["code"] == "MODEL_OFFLINE"
    logger("fondaco.x").error("engine.failed", exc_info=OSError(28, CANARY))
    assert lines.last()["reason"] == "ENOSPC"
    logger("fondaco.x").error("engine.failed", exc_info=ExceptionGroup(CANARY, [ValueError(CANARY)]))
    assert lines.last()["cause"] == "ValueError"
    assert CANARY not in lines.text()


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    configure(LogSettings(level="warning"), write=lines.append)
    logger("fondaco.x").info("engine.started")
    logger("fondaco.x").warning("engine.slow")
    assert [b"engine.slow" in line for line in lines] == [True]


def test_text_lines_quote_what_holds_spaces(lines: Lines) -> None:
    configure(LogSettings(format="text"), write=lines.append)
    logger("fondaco.x").info("engine.started", reason="not enough memory", seconds=0.5, model="a/b")
    assert lines.text().endswith('reason="not enough memory" seconds=0.5 model=a/b\n')


def test_bound_fields_are_checked_like_others(lines: Lines) -> None:
    logger("fondaco.x").bind(model="a/b", engine=f"{CANARY} said").info("engine.started")
    assert (lines.last()["model"], lines.last()["engine"]) == ("a/b", DROPPED)


def test_an_exception_nobody_caught_is_told_without_its_text(lines: Lines) -> None:
    sys.excepthook(ValueError, ValueError(CANARY), None)
    assert (lines.last()["event"], lines.last()["error"]) == ("process.failed", "ValueError")

    def fail() -> None:
        raise ValueError(CANARY)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert (lines.last()["event"], lines.last()["error"]) == ("thread.failed", "ValueError")

    class Grave:
        def __del__(self) -> None:
            raise ValueError(CANARY)

    Grave()
    assert (lines.last()["event"], lines.last()["error"]) == ("finaliser.failed", "ValueError")
    assert CANARY not in lines.text()


def test_a_failed_callback_of_the_loop_is_told_without_its_text(
    lines: Lines, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError(CANARY)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        install_loop_handler(loop)
        loop.call_soon(fail)
        await asyncio.sleep(0)
        loop.call_exception_handler({"message": CANARY, "future": CANARY})
        await asyncio.sleep(0)

    asyncio.run(run())
    failed, silent = (json.loads(line) for line in lines[-2:])
    assert (failed["event"], failed["error"]) == ("task.failed", "ValueError")
    assert silent["event"] == "task.failed"
    assert CANARY not in lines.text() + capfd.readouterr().err


@pytest.mark.parametrize(
    "name", ["asyncio", "aiohttp.client", "sqlalchemy.engine", "huggingface_hub", "other"]
)
def test_the_words_of_a_library_are_dropped(lines: Lines, name: str) -> None:
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger(name).exception(
            "failed on %s: %r", CANARY, {CANARY}, stack_info=True, extra={"x": CANARY}
        )
    line = lines.last()
    assert (line["event"], line["logger"], line["error"]) == ("library.said", name, "ValueError")
    assert CANARY not in lines.text()


def test_an_exception_logged_as_the_message_is_told_by_its_type(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").error(OSError(98, CANARY))
    assert lines.last()["reason"] == "EADDRINUSE"
    assert CANARY not in lines.text()


def test_a_handler_that_a_library_brings_sees_no_words_either(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    late = logging.getLogger("brings.its.own")
    own = logging.StreamHandler(sys.stderr)
    late.addHandler(own)
    try:
        try:
            raise ValueError(CANARY)
        except ValueError:
            late.exception("lost %s", CANARY)
    finally:
        late.removeHandler(own)
    assert CANARY not in capsys.readouterr().err


def test_known_messages_of_the_server_stay_readable(lines: Lines) -> None:
    log = logging.getLogger("uvicorn.error")
    log.info("Started server process [%d]", 42, extra={"color_message": CANARY})
    assert lines.last()["message"] == "Started server process [42]"
    log.info("Uvicorn running on %s://%s:%d (Press CTRL+C to quit)", "http", f"a {CANARY}", 1)
    assert lines.last()["message"] == "Uvicorn running on http://-:1 (Press CTRL+C to quit)"
    assert CANARY not in lines.text()


def test_access_lines_of_the_server_with_their_queries_are_silent(lines: Lines) -> None:
    logging.getLogger("uvicorn.access").info('%s - "%s"', "1.2.3.4", f"/v1?q={CANARY}")
    assert not lines


def test_a_warning_is_told_without_its_text(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(CANARY, stacklevel=1)
    assert lines.last()["logger"] == "py.warnings"
    assert CANARY not in lines.text()

"""The access log: what a line holds, when it is written, and that noting one costs next to nothing."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from fondaco.settings import LogSettings
from fondaco.telemetry.access import AccessLog


def note(log: AccessLog, *, method: str = "POST", path: str = "/v1/chat", model: str | None = "a/b") -> None:
    log.note(method, path, 200, 0.0125, 321, model, "0123456789abcdef")


@pytest.mark.anyio
async def test_a_request_becomes_one_json_line() -> None:
    written: list[bytes] = []
    log = AccessLog(LogSettings(format="json"), written.append)
    note(log)
    note(log, path="/api/v1/api_keys/{id}", model=None)
    log.close()
    first, second = (json.loads(line) for line in written[0].splitlines())
    assert len(written) == 1
    assert (
        abs(
            time.time()
            - time.mktime(time.strptime(first.pop("ts")[:19], "%Y-%m-%dT%H:%M:%S"))
            + time.timezone
        )
        < 60
    )
    assert first == {
        "level": "info",
        "event": "request.answered",
        "method": "POST",
        "path": "/v1/chat",
        "status": 200,
        "model": "a/b",
        "seconds": 0.0125,
        "bytes": 321,
        "request_id": "0123456789abcdef",
    }
    assert (second["path"], second["model"]) == ("/api/v1/api_keys/{id}", "-")


@pytest.mark.anyio
async def test_lines_are_written_together_a_quarter_of_a_second_later() -> None:
    written: list[bytes] = []
    log = AccessLog(LogSettings(format="text"), written.append)
    for _ in range(3):
        note(log)
    assert written == []
    await asyncio.sleep(0.4)
    assert [lines.count(b"\n") for lines in written] == [3]
    note(log)
    await asyncio.sleep(0.4)
    assert len(written) == 2


@pytest.mark.anyio
async def test_a_line_cannot_be_forged() -> None:
    written: list[bytes] = []
    log = AccessLog(LogSettings(format="json"), written.append)
    note(log, path='/x","status":500}\n{"forged":1')
    note(log, method="GE T", model='a"b')
    log.note("GET", "/v1", 200, 0.1, 1, None, 'id"}\n')
    log.close()
    lines = [json.loads(line) for line in written[0].splitlines()]
    assert [line["path"] for line in lines] == ["<dropped>", "/v1/chat", "/v1"]
    assert (lines[1]["method"], lines[1]["model"]) == ("<dropped>", "<dropped>")
    assert lines[2]["request_id"] == "<dropped>"


@pytest.mark.anyio
async def test_nothing_is_kept_when_it_is_off() -> None:
    written: list[bytes] = []
    for settings in (LogSettings(access=False), LogSettings(level="warning")):
        log = AccessLog(settings, written.append)
        note(log)
        log.close()
    assert written == []


@pytest.mark.anyio
async def test_noting_a_request_is_cheap_and_many_routes_take_no_memory() -> None:
    log = AccessLog(LogSettings(format="json"), lambda _: None)
    best = min(timed(log) for _ in range(5))
    assert best < 20e-6  # 0.4 µs on a quiet machine, 2.2 with the writing; a formatted stdlib record takes 15
    for number in range(5000):
        note(log, path=f"/v1/{number}")
    log.flush()
    assert len(log._lines._routes) <= 2048  # pyright: ignore[reportPrivateUsage]


def timed(log: AccessLog) -> float:
    begin = time.perf_counter()
    for _ in range(2000):
        note(log)
    taken = time.perf_counter() - begin
    log.flush()
    return taken / 2000

"""Bytes, rate and time left, and how they are shown."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from fondaco.cli.progress import FetchProgress, megabytes
from fondaco.engines.weights.progress import Meter, Progress


def metered(*readings: tuple[float, int], total: int | None = 1000, begun_with: int = 0) -> Progress:
    meter = Meter("m.gguf", total)
    meter.begin("mirror", begun_with)
    for at, done in readings:
        meter.read(done, at)
    return meter.progress()


def test_a_steady_fetch_has_its_rate_and_time_left() -> None:
    progress = metered((0, 0), (1, 100), (2, 200), (3, 300))
    assert (progress.done, progress.rate, progress.eta) == (300, pytest.approx(100), pytest.approx(7))


def test_bytes_of_an_earlier_try_are_no_speed() -> None:
    progress = metered((0, 800), (1, 810), begun_with=800)
    assert progress.rate == pytest.approx(10)


def test_a_jump_changes_the_rate_only_in_part() -> None:
    progress = metered((0, 0), (1, 10), (2, 20), (2.2, 120))
    assert 10 < progress.rate < 100


def test_without_a_total_there_is_no_time_left() -> None:
    progress = metered((0, 0), (1, 10), total=None)
    assert (progress.total, progress.eta) == (None, None)


def test_the_bar_does_not_go_back_for_a_packages_wrapping_nor_past_the_end() -> None:
    assert metered((0, 0), (1, 510), (2, 500)).done == 510
    assert metered((0, 0), (1, 1020)).done == 1000


def test_a_source_that_begins_again_takes_the_bar_back() -> None:
    assert metered((0, 0), (1, 900), (2, 10)).done == 10


def test_a_finished_fetch_has_no_time_left() -> None:
    assert metered((0, 0), (1, 1000)).eta == 0


class Listened:
    """Stands where the store stands: calls who listens."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[Progress], None]] = []

    def watch(self, listener: Callable[[Progress], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)


def test_lines_come_for_each_tenth_and_at_the_end() -> None:
    store, out = Listened(), io.StringIO()
    with FetchProgress(store, out):  # pyright: ignore[reportArgumentType]
        for done in range(0, 100_000_001, 1_000_000):
            store.listeners[0](Progress("m.gguf", done, 100_000_000, 2e6, 50.0, "mirror"))
    lines = out.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[1] == "m.gguf: 10 MB of 100 MB (10 %), 2.0 MB/s, 0:50 left, from mirror"
    assert "(100 %)" in lines[-1]
    assert store.listeners == []


def test_a_change_of_source_is_told_at_once() -> None:
    store, out = Listened(), io.StringIO()
    with FetchProgress(store, out):  # pyright: ignore[reportArgumentType]
        for source in ("mirror", "mirror", "model hub"):
            store.listeners[0](Progress("m.gguf", 0, 1000, 0.0, None, source))
    assert [line.rsplit(" from ")[1] for line in out.getvalue().splitlines()] == ["mirror", "model hub"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    store, out = Listened(), Terminal()
    with FetchProgress(store, out):  # pyright: ignore[reportArgumentType]
        store.listeners[0](Progress("m.gguf", 500_000, 1_000_000, 1e6, 30.0, "mirror"))
    assert "━" in out.getvalue()
    assert "0.5/1.0 MB" in out.getvalue()
    assert "0:30 left" in out.getvalue()


def test_sizes_are_told_in_decimal_units() -> None:
    assert [megabytes(count) for count in (850, 98_362_432, 1_117_320_768)] == ["1 kB", "98 MB", "1,117 MB"]

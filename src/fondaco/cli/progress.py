"""Shows fetches as they run: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from fondaco.engines.weights.progress import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

    from fondaco.engines.weights import WeightStore

LINE_SECONDS = 5.0
LINE_SHARE = 0.10


class FetchProgress:
    """While it is entered, what `store` fetches is shown on `file`, standard output by default."""

    def __init__(self, store: WeightStore, file: TextIO | None = None) -> None:
        self._store = store
        self._file = file or sys.stdout
        self._view: _Bars | _Lines | None = None
        self._stop: Callable[[], None] | None = None

    def say(self, line: str) -> None:
        """Print a line beside the bars, whole whatever the terminal's width."""
        if isinstance(self._view, _Bars):
            self._view.say(line)
        else:
            print(line, file=self._file, flush=True)

    def __enter__(self) -> Self:
        self._view = _Bars(self._file) if self._file.isatty() else _Lines(self._file)
        self._stop = self._store.watch(self._view.show)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stop is not None:
            self._stop()
        if self._view is not None:
            self._view.close()
        self._view = self._stop = None


def megabytes(count: int) -> str:
    """`491 MB`, as shops and hubs count them; smaller files in kB."""
    if count < 1_000_000:
        return f"{count / 1000:,.0f} kB"
    return f"{count / 1_000_000:,.0f} MB"


class _Lines:
    """A line for each ten percent, and on a slow connection one every five seconds if there is something new."""

    def __init__(self, file: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._monotonic = monotonic
        self._last: dict[str, tuple[float, int, str]] = {}

    def show(self, progress: Progress) -> None:
        now = self._monotonic()
        at, done, source = self._last.get(progress.name, (now, -1, ""))
        further = progress.done - done >= LINE_SHARE * (progress.total or float("inf"))
        due = progress.done > done and (
            further or now - at >= LINE_SECONDS or progress.done == progress.total
        )
        if not due and source == progress.source:
            return
        self._last[progress.name] = now, progress.done, progress.source
        print(_line(progress), file=self._file, flush=True)

    def close(self) -> None:
        self._last.clear()


class _Bars:
    def __init__(self, file: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn
        from rich.progress import Progress as RichProgress

        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(binary_units=False),
            TextColumn("{task.fields[told]}"),
            console=Console(file=file),
            expand=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._sources: dict[str, str] = {}
        self._bars.start()

    def show(self, progress: Progress) -> None:
        task = self._tasks.get(progress.name)
        if task is None:
            task = self._tasks[progress.name] = self._bars.add_task(
                progress.name.removesuffix(".gguf"), total=None, told=""
            )
        if self._sources.get(progress.name) != progress.source:
            self._sources[progress.name] = progress.source
            self._bars.console.print(f"from {progress.source}", highlight=False)
        told = " ".join(_speed(progress))
        self._bars.update(task, completed=progress.done, total=progress.total, told=told)

    def say(self, line: str) -> None:
        self._bars.console.print(line, soft_wrap=True, markup=False, highlight=False)

    def close(self) -> None:
        self._bars.stop()


def _line(progress: Progress) -> str:
    size = megabytes(progress.done)
    if progress.total is not None:
        percent = 100 * progress.done // max(progress.total, 1)
        size = f"{size} of {megabytes(progress.total)} ({percent} %)"
    return f"{progress.name}: {', '.join((size, *_speed(progress)))}, from {progress.source}"


def _speed(progress: Progress) -> list[str]:
    told: list[str] = []
    if progress.rate > 0:
        told.append(f"{progress.rate / 1_000_000:.1f} MB/s")
    if progress.eta:
        minutes, seconds = divmod(round(progress.eta), 60)
        told.append(f"{minutes}:{seconds:02} left")
    return told

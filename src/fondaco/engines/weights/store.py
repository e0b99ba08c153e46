"""Weights on this machine: find one, fetch one, remove one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fondaco.clock import Clock, SystemClock
from fondaco.engines.weights.errors import BeingFetched, NoSource, Offline, Stopped, Unwritable, WrongFile
from fondaco.engines.weights.fetching import TICK_SECONDS, Fetching
from fondaco.engines.weights.lock import FileLock
from fondaco.engines.weights.patience import Patience
from fondaco.engines.weights.progress import Meter, Progress
from fondaco.engines.weights.shelf import Shelf
from fondaco.engines.weights.sources import suppliers_of
from fondaco.engines.weights.threads import in_thread
from fondaco.engines.weights.weight import Weight
from fondaco.settings import WeightSettings

Listener = Callable[[Progress], None]


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class WeightStore:
    """Files in `<cache_dir>/weights`, each under its sha256 and there only once it has been checked."""

    def __init__(
        self,
        settings: WeightSettings,
        *,
        clock: Clock | None = None,
        patience: Patience | None = None,
        free_space: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.settings = settings
        self._clock = clock or SystemClock()
        self._patience = patience or Patience()
        self._free_space = free_space
        self._shelf = Shelf(settings.cache_dir.expanduser().absolute() / "weights")
        self._running: dict[str, asyncio.Task[Path]] = {}
        self._progress: dict[str, Callable[[], Progress]] = {}
        self._listeners: list[Listener] = []

    @property
    def folder(self) -> Path:
        """Where weights are kept."""
        return self._shelf.folder

    def find(self, weight: Weight) -> Path | None:
        """The weight's file if it is here and known to be whole. Cheap."""
        return self._shelf.find(weight)

    async def fetch(self, weight: Weight) -> Path:
        """The weight's file, fetched if need be. All who wait for it share one fetch, which goes on without them.

        Raises a WeightError.
        """
        if (found := self.find(weight)) is not None:
            return found
        task = self._running.get(weight.key)
        if task is None:
            task = asyncio.create_task(self._obtain(weight), name=f"fetch {weight.name}")
            self._running[weight.key] = task
            task.add_done_callback(lambda ended: self._forget(weight.key, ended))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if task.cancelled() and (waiter is None or not waiter.cancelling()):
                raise Stopped(weight.name) from None
            raise

    def progress(self, weight: Weight) -> Progress | None:
        """How far its fetch is; None when none is running or its source is still being asked."""
        read = self._progress.get(weight.key)
        return read() if read is not None else None

    def room(self, weight: Weight) -> int:
        """Bytes to have free for fetching it, whichever source delivers; 0 when its size is not known."""
        if weight.size is None:
            return 0
        partial = self._shelf.partial(weight)
        overhead = (source.overhead(weight, partial) for source in suppliers_of(weight, self.settings))
        return weight.size - partial.size + max(overhead, default=0)

    def watch(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` about five times a second for each running fetch, and once at its end.

        The answer ends that.
        """
        self._listeners.append(listener)

        def stop() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return stop

    def remove(self, weight: Weight) -> int:
        """Delete it and every part of it; bytes freed, 0 for a user's own file. Raises BeingFetched."""
        if not self.folder.is_dir():
            return 0
        lock = self._lock(weight)
        if weight.key in self._running or not lock.acquire():
            raise BeingFetched(weight.name)
        try:
            return self._shelf.remove(weight)
        finally:
            lock.release()

    async def close(self) -> None:
        """Stop running fetches. What they have is kept, and the next fetch goes on from there."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _obtain(self, weight: Weight) -> Path:
        try:
            if weight.own_path is not None:
                return await self._check_own(weight)
            if (put_there := await in_thread(self._shelf.check, weight)) is not None:
                return put_there
            if self.settings.offline:
                raise Offline(weight.name)
            await in_thread(self.folder.mkdir, parents=True, exist_ok=True)
            return await self._fetch_alone(weight)
        except OSError as error:
            raise Unwritable(self.folder, error.strerror or type(error).__name__) from None

    async def _check_own(self, weight: Weight) -> Path:
        await in_thread(self.folder.mkdir, parents=True, exist_ok=True)
        path = self._shelf.path(weight)
        if path is None or not path.is_file():
            raise NoSource(weight.name, [("path", "there is no such file")])
        checked = await in_thread(self._shelf.check, weight)
        if checked is None:
            raise WrongFile(weight.name)
        return checked

    async def _fetch_alone(self, weight: Weight) -> Path:
        """Fetch it when no other process does; if one does, wait and show its progress."""
        lock = self._lock(weight)
        partial = self._shelf.partial(weight)
        meter = Meter(weight.name, weight.size)
        meter.begin("another process", partial.size)
        while not lock.acquire():
            self._progress[weight.key] = meter.progress
            await asyncio.sleep(TICK_SECONDS)
            meter.read(partial.size + partial.joined.size, self._clock.monotonic())
            self._tell(meter.progress())
        try:
            if (found := self.find(weight)) is not None:
                return found  # by the other process, meanwhile
            await in_thread(self._shelf.sweep, weight)
            fetching = Fetching(
                weight,
                self._shelf,
                suppliers_of(weight, self.settings),
                patience=self._patience,
                clock=self._clock,
                free_space=self._free_space,
                tell=self._tell,
            )
            self._progress[weight.key] = lambda: fetching.progress
            return await fetching.run()
        finally:
            lock.release()

    def _lock(self, weight: Weight) -> FileLock:
        return FileLock(self.folder / f"{weight.key}.lock")

    def _tell(self, progress: Progress) -> None:
        for listener in tuple(self._listeners):
            listener(progress)

    def _forget(self, key: str, ended: asyncio.Task[Path]) -> None:
        self._running.pop(key, None)
        self._progress.pop(key, None)
        if not ended.cancelled():
            ended.exception()  # seen: the waiters, if any are left, have it too

"""The SQLite adapter of `Store`: one file, one writer, several readers, and an eye on other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from fondaco.store import connections, folder, migrations
from fondaco.store.errors import DatabaseAbsent, DatabaseClosed
from fondaco.store.faults import translated
from fondaco.store.interface import Store
from fondaco.store.readers import Readers
from fondaco.store.watch import Watch
from fondaco.store.writer import Writer

T = TypeVar("T")


class Database(Store):
    """`<data_dir>/fondaco.db`, open on one event loop."""

    def __init__(
        self, data_dir: Path, *, create: bool = True, reader_threads: int = 2, busy_seconds: float = 5.0
    ) -> None:
        """With `create` False a file that is not there is DatabaseAbsent. Nothing is touched before `open`.

        `busy_seconds` is how long a write waits for another process that is writing.
        """
        self.path = data_dir / folder.DATABASE_NAME
        self._create = create
        self._reader_threads = reader_threads
        self._busy_seconds = busy_seconds
        self._callbacks: list[Callable[[], None]] = []
        self._writer: Writer | None = None
        self._readers: Readers | None = None
        self._watch: Watch | None = None

    @property
    def commits(self) -> int:
        """Commits made by this process since `open`."""
        return self._writer.commits if self._writer else 0

    @property
    def writes(self) -> int:
        """Writes that those commits held."""
        return self._writer.writes if self._writer else 0

    async def open(self) -> None:
        """Raises StoreError, and OSError if the data directory cannot be made."""
        loop = asyncio.get_running_loop()
        link = await asyncio.to_thread(self._connect)
        connect = partial(connections.reading, self.path, self._busy_seconds)
        self._writer = Writer(self.path, link, loop)
        try:
            self._readers = Readers(self.path, connections.engine(connect), self._reader_threads)
            self._watch = Watch(connections.reading(self.path, 0), loop, self._writer, self._changed)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        # The writer last: the last connection to go folds the log into the file, and only it may write.
        if self._watch:
            self._watch.stop()
            self._watch = None
        if self._readers:
            readers, self._readers = self._readers, None
            await readers.stop()
        if self._writer:
            await self._writer.stop()

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self._writer is None:
            raise DatabaseClosed
        return await self._writer.submit(work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._readers is None:
            raise DatabaseClosed
        return await self._readers.read(work)

    def on_foreign_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def _changed(self) -> None:
        for callback in self._callbacks:
            callback()

    def _connect(self) -> connections.Link:
        if not self._create and not self.path.exists():
            raise DatabaseAbsent(self.path)
        folder.prepare(self.path.parent)
        folder.prepare_database(self.path)
        connect = partial(connections.writing, self.path, self._busy_seconds)
        try:
            link = connections.Link(connections.engine(connect))
            try:
                migrations.bring_up(link, self.path)
            except BaseException:
                link.close()
                raise
        except Exception as error:
            if (meant := translated(error, self.path)) is error:
                raise
            raise meant from None
        return link

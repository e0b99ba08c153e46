"""A few threads, each with its own read-only connection: reads never wait for the writer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import Engine

from fondaco.store.connections import Link
from fondaco.store.faults import translated

T = TypeVar("T")


class Readers:
    def __init__(self, path: Path, engine: Engine, threads: int) -> None:
        self._path = path
        self._engine = engine
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="fondaco-reader")
        self._mine = threading.local()
        self._links: list[Link] = []

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, work)

    async def stop(self) -> None:
        """Wait for the reads that were asked for, then close the connections."""
        await asyncio.to_thread(self._pool.shutdown)
        for link in self._links:
            link.close()
        self._links.clear()

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            link = self._link()
            link.raw.execute("BEGIN")
            try:
                return work(link.sql)
            finally:
                link.raw.execute("ROLLBACK")
        except Exception as error:
            if (meant := translated(error, self._path)) is error:
                raise
            raise meant from None

    def _link(self) -> Link:
        link: Link | None = getattr(self._mine, "link", None)
        if link is None:
            link = self._mine.link = Link(self._engine)
            self._links.append(link)
        return link

"""The seam that slices keep their rows behind; SQLite stands there now, PostgreSQL can.

A unit of work is a plain function of a SQLAlchemy `Connection`: an adapter decides on which thread (or, with an
async driver, in which greenlet) it runs and when it is committed. `tests/integration/store` holds the one suite
that every adapter passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class Store(Protocol):
    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises StoreError."""
        ...

    async def close(self) -> None:
        """Finish the writes that were accepted, then let go. Closing twice is harmless."""
        ...

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result once it is durable.

        What `work` raises is raised here, and it alone is rolled back: writes that share its commit stand. Writes
        of one caller happen in the order they were asked for. Cancelling the wait does not undo the write.
        `work` never commits, rolls back or keeps the connection. It may be run again only by the caller.
        Raises StoreError if the database itself fails; then nothing of the write was kept.
        """
        ...

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one snapshot that holds every write acknowledged before. `work` cannot write."""
        ...

    def on_foreign_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop within about 100 ms after another process has changed anything.

        It may also be called when nothing changed, and once for several changes: it says "forget what you cached".
        """
        ...

"""Sees within 100 ms that another process has changed the database.

`PRAGMA data_version` costs 5 µs, so the event loop looks itself, every 50 ms. On its connection the number moves
with our own commits too; only on the writer's does it move for others alone. So a movement seen here is a question
to the writer, and callbacks run when it says yes, or when it is too busy to say anything by the next look.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable

from fondaco.store.writer import Writer

_EVERY_SECONDS = 0.05


class Watch:
    """Owns `connection` until `stop`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        writer: Writer,
        changed: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._writer = writer
        self._changed = changed
        self._version = self._data_version()
        self._asked = False
        self._timer = loop.call_later(_EVERY_SECONDS, self._look)

    def stop(self) -> None:
        self._timer.cancel()
        self._connection.close()

    def _look(self) -> None:
        self._timer = self._loop.call_later(_EVERY_SECONDS, self._look)
        if self._asked:
            self._changed()
            return
        version = self._data_version()
        if version != self._version:
            self._version = version
            self._asked = True
            self._writer.ask_for_foreign(self._answer)

    def _answer(self, moved: bool) -> None:
        self._asked = False
        if moved:
            self._changed()

    def _data_version(self) -> int:
        try:
            return self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.OperationalError:
            return -1  # unreadable this time: counts as a movement

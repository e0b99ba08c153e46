"""When each key was last used: noted in memory at once, written down every 30 seconds and at the end."""

from __future__ import annotations

import asyncio
from datetime import datetime

import msgspec

from fondaco.keys import store
from fondaco.keys.store import KeyRecord
from fondaco.store.errors import StoreError
from fondaco.store.interface import Store
from fondaco.telemetry.logs import logger

_EVERY_SECONDS = 30.0

_log = logger(__name__)


class Uses:
    def __init__(self, database: Store, every_seconds: float = _EVERY_SECONDS) -> None:
        self.noted: dict[str, datetime] = {}
        """Last use by key id, not yet written. The same dict for good: the hot path writes into it."""
        self._database = database
        self._every = every_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    def keep_writing(self) -> None:
        """From now on write down what is noted, until `close`. Needs the running event loop."""
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._write_soon)

    def on_top(self, record: KeyRecord) -> KeyRecord:
        """`record` with the last use that is noted here, if it is the later one."""
        noted = self.noted.get(record.id)
        if noted is None or (record.last_used_at is not None and record.last_used_at > noted):
            return record
        return msgspec.structs.replace(record, last_used_at=noted)

    async def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            await self._writing
        await self._write()

    def _write_soon(self) -> None:
        self._timer = None
        self.keep_writing()
        if self.noted and (self._writing is None or self._writing.done()):
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        if not self.noted:
            return
        taken = self.noted.copy()
        self.noted.clear()
        try:
            await self._database.write(lambda connection: store.note_use(connection, taken))
        except StoreError as error:
            _log.warning("key_uses.not_written", count=len(taken), exc_info=error)
            for key_id, at in taken.items():
                self.noted.setdefault(key_id, at)

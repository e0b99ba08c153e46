"""One thread and one connection take all writes of this process, and commit together what came together.

A disk makes a few hundred to a few thousand commits a second, each as dear as the last whether it holds one write
or five hundred. So while one commit is on its way the next writes queue up, and all of them share the next one;
a SAVEPOINT around each keeps the failure of one from the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection

from fondaco.store.connections import Link
from fondaco.store.errors import DatabaseClosed
from fondaco.store.faults import translated

T = TypeVar("T")

_MOST_IN_A_COMMIT = 512


class Writer:
    """Owns `link` until `stop`. All methods are for the thread of `loop`."""

    def __init__(self, path: Path, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self.commits = 0
        self.writes = 0
        self._path = path
        self._link = link
        self._loop = loop
        self._queue: queue.SimpleQueue[_Write[Any] | _Question | None] = queue.SimpleQueue()
        self._version = self._data_version()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="fondaco-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Queue `work`; the future has its result once the commit is durable."""
        if self._stopped:
            raise DatabaseClosed
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Write(work, future))
        return future

    def ask_for_foreign(self, answer: Callable[[bool], None]) -> None:
        """Tell `answer`, on the loop, whether another connection has committed since this was last asked."""
        if not self._stopped:
            self._queue.put(_Question(answer))

    async def stop(self) -> None:
        """Do the writes that were accepted, refuse others, close the connection."""
        if not self._stopped:
            self._stopped = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        running = True
        while running:
            turn = self._take()
            if writes := [item for item in turn if isinstance(item, _Write)]:
                self._tell(_settle, self._commit(writes))
            if questions := [item for item in turn if isinstance(item, _Question)]:
                moved = self._has_moved()
                for question in questions:
                    self._tell(question.answer, moved)
            running = turn[-1] is not None
        self._link.close()

    def _take(self) -> list[_Write[Any] | _Question | None]:
        """Wait for one item; take with it all that came meanwhile. None, the last item ever, stands last."""
        turn = [self._queue.get()]
        try:
            while len(turn) < _MOST_IN_A_COMMIT:
                turn.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return turn

    def _commit(self, writes: Sequence[_Write[Any]]) -> list[_Outcome]:
        raw = self._link.raw
        try:
            raw.execute("BEGIN IMMEDIATE")
            if len(writes) == 1:
                outcomes = [_Outcome(writes[0].future, writes[0].work(self._link.sql), None)]
            else:
                outcomes = [self._attempt(write) for write in writes]
            raw.execute("COMMIT")
        except BaseException as error:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            return [_Outcome(write.future, None, translated(error, self._path)) for write in writes]
        self.commits += 1
        self.writes += sum(outcome.error is None for outcome in outcomes)
        return outcomes

    def _attempt(self, write: _Write[Any]) -> _Outcome:
        """One write within the open transaction. Raises only when the transaction itself is lost."""
        raw = self._link.raw
        raw.execute("SAVEPOINT one")
        value, failure = None, None
        try:
            value = write.work(self._link.sql)
        except BaseException as error:
            if not raw.in_transaction:  # on a full or failing disk SQLite may drop all of it, neighbours too
                raise
            raw.execute("ROLLBACK TO one")
            failure = translated(error, self._path)
        raw.execute("RELEASE one")
        return _Outcome(write.future, value, failure)

    def _has_moved(self) -> bool:
        try:
            before, self._version = self._version, self._data_version()
        except sqlite3.Error:
            return True  # unreadable this time: counts as a movement, and must not end the thread
        return self._version != before

    def _data_version(self) -> int:
        # On this connection our own commits leave the number alone: a change is always somebody else's.
        return self._link.raw.execute("PRAGMA data_version").fetchone()[0]

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed under us: nobody is left to be told
            self._loop.call_soon_threadsafe(callback, value)


class _Write(NamedTuple, Generic[T]):
    work: Callable[[Connection], T]
    future: asyncio.Future[T]


class _Question(NamedTuple):
    answer: Callable[[bool], None]


class _Outcome(NamedTuple):
    future: asyncio.Future[Any]
    value: object
    error: BaseException | None


def _settle(outcomes: Sequence[_Outcome]) -> None:
    for future, value, error in outcomes:
        if future.done():
            continue  # its caller was cancelled; the write stands
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

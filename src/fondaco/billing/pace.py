"""When a commit begins: at once for who comes alone; where requests come by many, when they have gathered.

A commit costs as much as dozens of rows: its own statements, and an interpreter that two threads then share.
"""

from __future__ import annotations

import asyncio

_CROWD = 4
_LONGEST_SECONDS = 0.008
_ENOUGH = 64


class Pace:
    """Of one journal, on the event loop. Who comes after a commit of a few waits for no more than a few milliseconds."""

    __slots__ = ("_gathered", "_last", "_not_before", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        """Requests that have neither been settled nor voided: those to wait for."""
        self._last = 0
        self._not_before = 0
        self._gathered: asyncio.Future[None] | None = None

    def began(self, settlements: int) -> None:
        """A commit of so many has begun: the next one is due some time after it, if they are a crowd."""
        crowd = settlements >= _CROWD
        self._last = settlements
        self._not_before = asyncio.get_running_loop().time() + _LONGEST_SECONDS if crowd else 0

    async def gather(self, waiting: int) -> None:
        """Return when the next commit should begin; so many settlements wait for it already."""
        loop = asyncio.get_running_loop()
        if self._not_before <= loop.time() or self._is_enough(waiting):
            return
        self._gathered = loop.create_future()
        timer = loop.call_at(self._not_before, self.hurry)
        try:
            await self._gathered
        finally:
            self._gathered = None
            timer.cancel()

    def came(self, waiting: int) -> None:
        """One more settlement has come; now so many wait."""
        if self._gathered is not None and self._is_enough(waiting):
            self.hurry()

    def hurry(self) -> None:
        """Wait for no more."""
        if self._gathered is not None and not self._gathered.done():
            self._gathered.set_result(None)

    def _is_enough(self, waiting: int) -> bool:
        # Clients that were answered come back, so as many as last time are still to be expected.
        return waiting >= _ENOUGH or (waiting >= self._last and not self.under_way)

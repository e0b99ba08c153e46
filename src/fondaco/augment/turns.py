"""Turns at what is scarce, of which no account can take all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from weakref import WeakValueDictionary


class Turns:
    """Belongs to one event loop. Who waits is served in order of arrival."""

    def __init__(self, at_once: int, each: int | None = None) -> None:
        """An account has at most `each` of them together; unless said otherwise, all but one."""
        self._all = asyncio.Semaphore(at_once)
        self._each = each or max(1, at_once - 1)
        self._accounts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Of those that have a turn or wait for one."""

    @asynccontextmanager
    async def turn(self, account: str | None) -> AsyncGenerator[None]:
        """Without an account it is the server's own work, which has no share."""
        share = self._share(account) if account is not None else nullcontext()
        # Who waits for his account's share does not stand in the line of all.
        async with share, self._all:
            yield

    def _share(self, account: str) -> asyncio.Semaphore:
        if (share := self._accounts.get(account)) is None:
            share = self._accounts[account] = asyncio.Semaphore(self._each)
        return share

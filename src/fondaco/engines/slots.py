"""Who may use an engine's slots, in order of arrival, and whose prompt each of them still remembers.

Slots share one context. llama.cpp fails every running request when that overflows, so a request is let in only when
its tokens fit beside the others'. A slot keeps the prompt of its last user; only the same account may build on it.
"""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec


class EngineGone(Exception):
    """The engine stopped while a request waited for it."""


class Grant(msgspec.Struct, frozen=True, eq=False):
    """The right to use `slots` and `tokens` of the context, until given back with `release`."""

    account: str
    slots: tuple[int, ...]
    """The first is the one to name to the engine; the others are for further choices."""
    tokens: int
    cache_prompt: bool
    epoch: int


class _Slot:
    __slots__ = ("busy", "last_used", "owner")

    def __init__(self) -> None:
        self.busy = False
        self.owner: str | None = None
        self.last_used = -1


class _Waiter:
    __slots__ = ("account", "admitted", "choices", "tokens")

    def __init__(self, account: str, tokens: int, choices: int) -> None:
        self.account = account
        self.tokens = tokens
        self.choices = choices
        self.admitted: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()


class SlotTable:
    """The slots of one running engine.

    The engine itself picks the slots of a request's second and further choices, among all that are idle just then,
    leased or not. While such a request runs, and at its end, no slot but its first counts as anybody's.
    """

    def __init__(self, count: int, pool_tokens: int, request_tokens: int) -> None:
        """`pool_tokens` is the shared context, `request_tokens` what a single choice may take of it at most."""
        self._slots = [_Slot() for _ in range(count)]
        self._pool = pool_tokens
        self._most = request_tokens
        self._used = 0
        self._queue: deque[_Waiter] = deque()
        self._tick = 0
        self._plural = 0
        self._epoch = 0
        self._closed = False

    @property
    def free_tokens(self) -> int:
        return self._pool - self._used

    @property
    def busy(self) -> int:
        return sum(slot.busy for slot in self._slots)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def acquire(self, account: str, tokens: int, choices: int = 1) -> Grant:
        """Wait for `choices` slots and for `tokens` of the context; a request for more than all of it runs alone.

        Raises EngineGone when the engine stops meanwhile.
        """
        if self._closed:
            raise EngineGone
        waiter = _Waiter(account, max(0, min(tokens, self._most * choices, self._pool)), choices)
        self._queue.append(waiter)
        self._admit()
        try:
            return await waiter.admitted
        except asyncio.CancelledError:
            if waiter.admitted.done() and not waiter.admitted.cancelled() and not waiter.admitted.exception():
                self.release(waiter.admitted.result())
            elif waiter in self._queue:
                self._queue.remove(waiter)
                self._admit()
            raise

    def release(self, grant: Grant) -> None:
        """Give it back, once."""
        self._tick += 1
        # Its own mark counts, so that a plural grant with nobody else's beside it keeps its first slot.
        plural = len(grant.slots) > 1
        unmixed = grant.epoch == self._epoch and self._plural == plural
        if plural:
            self._plural -= 1
            self._disown()
        for number in grant.slots:
            slot = self._slots[number]
            slot.busy = False
            slot.last_used = self._tick
            slot.owner = grant.account if unmixed and number == grant.slots[0] else None
        self._used -= grant.tokens
        self._admit()

    def close(self) -> None:
        """The engine is gone: everyone who waits is told, and nobody else may wait."""
        self._closed = True
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.admitted.done():
                waiter.admitted.set_exception(EngineGone())

    def _admit(self) -> None:
        while self._queue and not self._closed:
            head = self._queue[0]
            if head.admitted.cancelled():
                self._queue.popleft()
                continue
            if len(self._slots) - self.busy < head.choices or self._used + head.tokens > self._pool:
                return
            self._queue.popleft()
            head.admitted.set_result(self._grant(head))

    def _grant(self, waiter: _Waiter) -> Grant:
        free = [number for number, slot in enumerate(self._slots) if not slot.busy]
        # The account's own slot with the freshest prompt first, then those that remember least of others.
        free.sort(key=lambda number: self._rank(self._slots[number], waiter.account))
        chosen = tuple(free[: waiter.choices])
        reuse = self._slots[chosen[0]].owner == waiter.account
        if waiter.choices > 1:
            self._plural += 1
            self._disown()
        for number in chosen:
            self._slots[number].busy = True
        self._used += waiter.tokens
        return Grant(waiter.account, chosen, waiter.tokens, reuse, self._epoch)

    def _disown(self) -> None:
        self._epoch += 1
        for slot in self._slots:
            slot.owner = None

    @staticmethod
    def _rank(slot: _Slot, account: str) -> tuple[int, int]:
        if slot.owner == account:
            return (0, -slot.last_used)
        return (1, slot.last_used)

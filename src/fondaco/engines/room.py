"""Memory for engines: kept free where settings say so, made by ending idle engines, promised while one loads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from fondaco import errors
from fondaco.engines.memory import MIB, in_mib

Evict = Callable[[], Awaitable[bool]]
"""Ends the engine that has been idle longest; False when there is none."""


class Room:
    def __init__(self, reserve_mib: int, available: Callable[[], int], evict: Evict) -> None:
        """`available` gives the bytes that could be taken now."""
        self._reserve = reserve_mib * MIB
        self._available = available
        self._evict = evict
        self._promised = 0
        self._making = asyncio.Lock()

    @asynccontextmanager
    async def promise(self, need: int, model: str) -> AsyncGenerator[None]:
        """Keep `need` bytes for a model while it loads, so that two never count on the same ones.

        Raises ModelAtCapacity when nothing more can be evicted.
        """
        async with self._making:
            while (free := self._available() - self._promised) < need + self._reserve:
                if not await self._evict():
                    raise errors.ModelAtCapacity(
                        f"The model {model} needs {in_mib(need)} MiB of memory beside the {in_mib(self._reserve)} MiB "
                        f"that are kept free, and {max(0, free) // MIB} MiB are free. Please try again later.",
                        retry_after=30,
                    )
            self._promised += need
        try:
            yield
        finally:
            self._promised -= need

    async def relieve(self) -> None:
        """End one idle engine if memory has become short."""
        if self._available() < self._reserve and not self._making.locked():
            async with self._making:
                await self._evict()

"""Local engines for a gateway: the one door to them, whether they are our own children or another gateway's.

Whoever holds the run directory's lock has the children; the others use them through it, and one of them takes its
place when it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from fondaco import errors
from fondaco.clock import Clock, SystemClock
from fondaco.engines import machine
from fondaco.engines.fleet import Fleet
from fondaco.engines.lease import Engines, EngineState, Lease, LocalModel, Weights
from fondaco.engines.rundir import UNIX_SOCKETS, RunDir
from fondaco.engines.sharing import Door, HolderGone, Tenant
from fondaco.settings import EngineSettings
from fondaco.telemetry.logs import BoundLogger

__all__ = ["EngineState", "Lease", "LocalModel", "Supervisor", "Weights"]

SUCCESSION_SECONDS = 10.0
"""How long a request waits while one gateway takes another's place."""

_RETRY_SECONDS = 0.1


class Supervisor:
    """Call `start` first and `close` last."""

    def __init__(
        self,
        engines: EngineSettings,
        run_dir: Path,
        weights: Weights,
        *,
        wait_seconds: float,
        log: BoundLogger,
        clock: Clock | None = None,
        available: Callable[[], int] = machine.available_memory,
        command: Sequence[str] | None = None,
    ) -> None:
        """`wait_seconds` is how long a request waits for weights on their way; `command` starts a child."""
        self._settings = engines
        self._rundir = RunDir(run_dir)
        self._weights = weights
        self._wait_seconds = wait_seconds
        self._log = log
        self._clock: Clock = clock or SystemClock()
        self._available = available
        self._command = command
        self._engines: Engines | None = None
        self._door: Door | None = None
        self._settling = asyncio.Lock()
        self._succession: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Take the directory, or find who has it."""
        async with self._settling:
            await self._settle()

    @asynccontextmanager
    async def lease(
        self, model: LocalModel, account: str, tokens: int, choices: int = 1
    ) -> AsyncGenerator[Lease]:
        """An engine for one request of `choices` answers that will hold at most `tokens`, prompt and completions.

        Starts it if need be and waits for it, for slots and for room in the shared context, first come first served.
        Raises ModelLoading while weights are on their way for longer than `wait_seconds`, ModelAtCapacity when the
        queue is full or memory is short, ModelOffline when the engine cannot be had, and InvalidRequest at `n` for
        more choices than there are slots.
        """
        async with AsyncExitStack() as stack:
            yield await self._enter(stack, model, account, tokens, choices)

    def context_of(self, model: LocalModel) -> int | None:
        """What one request may hold in tokens; None until the model has been loaded once."""
        return self._engines.context_of(model) if self._engines else None

    def state(self, model: LocalModel) -> EngineState:
        return self._engines.state(model) if self._engines else "stopped"

    async def preload(self, model: LocalModel) -> None:
        """Fetch and start it; returns when it is ready. Failures are logged and tried again, ever more slowly."""
        while not self._closed:
            try:
                await self._mine().preload(model)
            except HolderGone:
                await self._succeed()
            else:
                return

    async def close(self) -> None:
        """End all children. Leases still held break."""
        self._closed = True
        async with self._settling:
            if self._door is not None:
                await self._door.close()
            await self._now(None)
            self._rundir.release()
        if self._succession is not None:
            self._succession.cancel()
            await asyncio.wait((self._succession,))

    async def _enter(
        self, stack: AsyncExitStack, model: LocalModel, account: str, tokens: int, choices: int
    ) -> Lease:
        deadline = self._clock.monotonic() + SUCCESSION_SECONDS
        while True:
            try:
                return await stack.enter_async_context(self._mine().lease(model, account, tokens, choices))
            except HolderGone:
                if self._clock.monotonic() > deadline:
                    raise errors.ModelOffline(retry_after=5) from None
            await self._succeed()

    def _mine(self) -> Engines:
        if self._engines is None or self._closed:
            raise errors.ModelOffline("The server is shutting down.")
        return self._engines

    async def _succeed(self) -> None:
        """The holder does not answer: take its place, or wait a moment for whoever does."""
        async with self._settling:
            if not self._closed and not isinstance(self._engines, Fleet):
                await self._settle()
        await asyncio.sleep(_RETRY_SECONDS)

    async def _settle(self) -> None:
        if not self._rundir.hold():
            await self._now(Tenant(self._rundir.sharing_socket(), self._weights, self._holder_gone))
            return
        fleet = Fleet(
            self._settings,
            self._rundir,
            self._weights,
            wait_seconds=self._wait_seconds,
            clock=self._clock,
            log=self._log,
            available=self._available,
            command=self._command,
        )
        fleet.open()
        await self._now(fleet)
        if UNIX_SOCKETS:
            self._door = Door(fleet, self._rundir.sharing_socket())
            await self._door.open()
        self._log.debug("engines.held")

    async def _now(self, engines: Engines | None) -> None:
        """These from here on; the former ones end."""
        former, self._engines = self._engines, engines
        if former is not None:
            await former.close()

    def _holder_gone(self) -> None:
        if self._succession is None or self._succession.done():
            self._succession = asyncio.create_task(self._succeed())

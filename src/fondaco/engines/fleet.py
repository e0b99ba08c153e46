"""The engines that are our own children, and the turn of the clock that looks after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fondaco import errors
from fondaco.clock import Clock
from fondaco.engines.engine import Engine
from fondaco.engines.lease import EngineState, Lease, LocalModel, Weights
from fondaco.engines.room import Room
from fondaco.engines.rundir import RunDir
from fondaco.settings import EngineSettings
from fondaco.telemetry.logs import BoundLogger

TURN_SECONDS = 1.0

_PRELOAD_RETRY = 0.5, 30.0


class Fleet:
    """Engines by model id, made when first asked for."""

    def __init__(
        self,
        settings: EngineSettings,
        rundir: RunDir,
        weights: Weights,
        *,
        wait_seconds: float,
        clock: Clock,
        log: BoundLogger,
        available: Callable[[], int],
        command: Sequence[str] | None,
    ) -> None:
        self._settings = settings
        self._rundir = rundir
        self._weights = weights
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._log = log
        self._command = command
        self._room = Room(settings.memory_reserve_mib, available, self._evict)
        self._engines: dict[str, Engine] = {}
        self._turns: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._turns = asyncio.create_task(self._turn())

    def lease(
        self, model: LocalModel, account: str, tokens: int, choices: int
    ) -> AbstractAsyncContextManager[Lease]:
        return self._engine(model).lease(account, tokens, choices)

    def context_of(self, model: LocalModel) -> int | None:
        return self._engine(model).context_tokens

    def state(self, model: LocalModel) -> EngineState:
        return self._engine(model).state

    async def preload(self, model: LocalModel) -> None:
        engine, wait = self._engine(model), _PRELOAD_RETRY[0]
        while True:
            try:
                await engine.start(patient=True)
            except errors.FondacoError as failed:
                wait = max(wait, float(failed.retry_after or 0))
                self._log.warning("preload.failed", model=model.id, code=failed.code, retry_seconds=wait)
                await asyncio.sleep(wait)
                wait = min(_PRELOAD_RETRY[1], 2 * wait)
            else:
                return

    async def close(self) -> None:
        if self._turns is not None:
            self._turns.cancel()
            await asyncio.wait((self._turns,))
        await asyncio.gather(*(engine.close() for engine in self._engines.values()))

    def _engine(self, model: LocalModel) -> Engine:
        engine = self._engines.get(model.id)
        if engine is None:
            engine = self._engines[model.id] = Engine(
                model,
                self._settings,
                self._weights,
                wait_seconds=self._wait_seconds,
                room=self._room,
                rundir=self._rundir,
                clock=self._clock,
                log=self._log,
                command=self._command,
            )
        return engine

    async def _evict(self) -> bool:
        idle = [engine for engine in self._engines.values() if engine.evictable]
        if not idle:
            return False
        await min(idle, key=lambda engine: engine.last_used).unload("memory")
        return True

    async def _turn(self) -> None:
        while True:
            await asyncio.sleep(TURN_SECONDS)
            try:
                await self._room.relieve()
                for engine in tuple(self._engines.values()):
                    await engine.tend()
            except OSError as failed:
                # A reading of the machine that failed once must not end the watch.
                self._log.warning("engines.not_tended", exc_info=failed)

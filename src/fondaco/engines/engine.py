"""One local model's engine: started when first needed, watched while it runs, started anew after it fell.

stopped ──lease──▶ starting ──answers──▶ ready ──idle, evicted──▶ stopped
   ▲                  │ fails              │ falls, hangs
   └──── time ── backing off ◀─────────────┘
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fondaco import errors
from fondaco.clock import Clock
from fondaco.engines import machine
from fondaco.engines.arrival import Arrival
from fondaco.engines.backoff import BackOff
from fondaco.engines.child import SENTENCES, Child, StartFailed, new_key
from fondaco.engines.kinds import KINDS
from fondaco.engines.launch import Launch
from fondaco.engines.lease import EngineState, Lease, LocalModel, Weights
from fondaco.engines.room import Room
from fondaco.engines.rundir import RunDir
from fondaco.engines.slots import EngineGone, Grant, SlotTable
from fondaco.settings import EngineSettings
from fondaco.telemetry.logs import BoundLogger

QUEUE_PER_SLOT = 16
"""Requests that may wait, for each slot, where the kind of engine does not say."""

SETTLED_SECONDS = 60.0
"""After so long in health a fall counts as the first."""

CHECK_EVERY = 10.0
CHECK_SECONDS = 5.0

_SHORT_BACKOFF = 1.0
"""A request waits so long for the next start; for longer it is refused."""

_TRIES = 3


class _Run:
    """One process that answered, and its slots."""

    def __init__(
        self,
        child: Child,
        context_tokens: int,
        slots: SlotTable,
        since: float,
        watch: Callable[[_Run], Coroutine[None, None, None]],
    ) -> None:
        self.child = child
        self.context_tokens = context_tokens
        self.slots = slots
        self.since = since
        self.checked = since
        self.wanted = True
        """False once we ended it ourselves."""
        self.look: asyncio.Task[None] | None = None
        self.watch = asyncio.create_task(watch(self))


class Engine:
    """Give it `tend` about once a second; all else it does when asked."""

    def __init__(
        self,
        model: LocalModel,
        settings: EngineSettings,
        weights: Weights,
        *,
        wait_seconds: float,
        room: Room,
        rundir: RunDir,
        clock: Clock,
        log: BoundLogger,
        command: Sequence[str] | None,
    ) -> None:
        self.model = model
        self.last_used = clock.monotonic()
        self._settings = settings
        self._kind = KINDS[model.engine]
        self._slots = self._kind.slots or settings.slots
        self._pool = settings.context_tokens if model.engine == "text" else 0
        self._room = room
        self._rundir = rundir
        self._clock = clock
        self._log = log.bind(model=model.id)
        self._command = tuple(command or self._kind.command)
        self._arrival = Arrival(model, weights, wait_seconds, clock, self._log)
        self._backoff = BackOff(clock)
        self._why = ""
        self._run: _Run | None = None
        self._starting: asyncio.Task[_Run] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._using = 0
        self._waiting = 0
        self._context: int | None = None
        self._closed = False

    @property
    def context_tokens(self) -> int | None:
        """What one request may hold; known since it first ran."""
        return self._context

    @property
    def state(self) -> EngineState:
        if self._run is not None:
            return "ready"
        if self._starting is not None:
            return "starting"
        if not self._arrival.here:
            return "fetching" if self._arrival.fetching else "absent"
        return "backing_off" if self._backoff.left > 0 else "stopped"

    @property
    def evictable(self) -> bool:
        """It runs and nobody uses or awaits it."""
        return self._run is not None and not self._using and not self._waiting

    @asynccontextmanager
    async def lease(self, account: str, tokens: int, choices: int) -> AsyncGenerator[Lease]:
        """See `Supervisor.lease`."""
        slots = self._slots
        if not 1 <= choices <= slots:
            raise errors.InvalidRequest.at(
                "n", message=f"Number must be between 1 and {slots} for this model", code="too_big"
            )
        if self._waiting >= (self._kind.queue or slots * QUEUE_PER_SLOT):
            raise errors.ModelAtCapacity(retry_after=5)
        self._waiting += 1
        try:
            run, grant = await self._admitted(account, tokens, choices)
        finally:
            self._waiting -= 1
        self._using += 1
        try:
            yield Lease(
                run.child.target,
                run.context_tokens,
                grant.slots[0],
                grant.cache_prompt,
                lambda: self._look_at(run),
            )
        finally:
            self._using -= 1
            run.slots.release(grant)
            self.last_used = self._clock.monotonic()

    async def start(self, *, patient: bool) -> None:
        """Have it run. `patient` waits for the weights however long they take."""
        await self._running(patient=patient)

    async def tend(self) -> None:
        """End it when idle for too long; see to its health when nobody uses it."""
        run, now = self._run, self._clock.monotonic()
        if run is None or not self.evictable:
            return
        if now - self.last_used >= self._settings.idle_seconds:
            await self.unload("idle")
        elif now - run.checked >= CHECK_EVERY:
            run.checked = now
            self._look_at(run, tries=2)

    async def unload(self, reason: str) -> None:
        """End the process and wait until it is gone."""
        if (run := self._run) is not None:
            self._log.info("engine.unloaded", reason=reason)
            run.wanted = False
            self._forget(run)
            self._stopping = asyncio.create_task(self._end(run))
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def close(self) -> None:
        """End everything for good."""
        self._closed = True
        await self._arrival.close()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        await self.unload("closing")

    async def _admitted(self, account: str, tokens: int, choices: int) -> tuple[_Run, Grant]:
        for _ in range(_TRIES):
            run = await self._running(patient=False)
            try:
                grant = await run.slots.acquire(account, tokens, choices)
            except EngineGone:
                continue
            if run is self._run and run.look is None:
                return run, grant
            run.slots.release(grant)
        raise errors.ModelOffline(retry_after=max(1, math.ceil(self._backoff.left)))

    async def _running(self, *, patient: bool) -> _Run:
        while True:
            if self._closed:
                raise errors.ModelOffline("The server is shutting down.")
            run = self._run
            if run is not None and run.look is None:
                return run
            if run is not None and run.look is not None:
                await asyncio.wait((run.look,))
            elif self._starting is not None:
                return await asyncio.shield(self._starting)
            elif not self._arrival.here:
                await self._arrival.wait(patient=patient)
            elif (left := self._backoff.left) > _SHORT_BACKOFF:
                raise errors.ModelOffline(self._why or None, retry_after=math.ceil(left))
            elif left > 0:
                await asyncio.sleep(left)
            else:
                self._starting = asyncio.create_task(self._start())
                self._starting.add_done_callback(self._started)

    async def _start(self) -> _Run:
        if self._stopping is not None:
            await asyncio.shield(self._stopping)
        if (paths := self._arrival.paths()) is None:
            raise errors.ModelOffline
        pool = self._pool
        try:
            need = await asyncio.to_thread(self._kind.footprint, paths, pool)
        except OSError:
            raise errors.ModelOffline from None
        began = self._clock.monotonic()
        async with self._room.promise(need, self.model.id):
            try:
                child, context = await self._spawn(paths)
            except StartFailed as failed:
                self._backoff.failed()
                self._why = f"The model {self.model.id} could not be started: {SENTENCES[failed.kind]}."
                left = self._backoff.left
                self._log.error("engine.not_started", reason=failed.kind, retry_seconds=round(left, 1))
                raise errors.ModelOffline(self._why, retry_after=max(1, math.ceil(left))) from None
        now = self._clock.monotonic()
        self._context = context
        self.last_used = now
        slots = SlotTable(self._slots, max(pool, context), context)
        run = self._run = _Run(child, context, slots, now, self._watch)
        self._log.info("engine.ready", seconds=round(now - began, 2), context_tokens=context, pid=child.pid)
        return run

    async def _spawn(self, paths: Mapping[str, Path]) -> tuple[Child, int]:
        settings = self._settings
        launch = Launch(
            model=str(paths["model"]),
            files={role: str(path) for role, path in paths.items() if role != "model"},
            options=dict(self.model.options),
            name=self.model.id,
            key=new_key(),
            context_tokens=self._pool,
            slots=self._slots,
            threads=settings.threads or machine.cores(),
            gpu_layers=settings.gpu_layers,
            socket=self._rundir.new_socket(),
        )
        child = await Child.spawn(launch, self._command)
        try:
            context = await child.ready(settings.start_seconds)
        except BaseException:
            child.kill()
            await child.stop()
            raise
        return child, context or self._pool

    def _started(self, task: asyncio.Task[_Run]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # those who waited have it; there may have been none

    async def _watch(self, run: _Run) -> None:
        how = await run.child.wait()
        if not run.wanted:
            return
        healthy_for = self._forget(run)
        self._backoff.failed()
        self._why = f"The model {self.model.id} stopped working and is about to be restarted."
        self._log.error("engine.ended", how=how, reason=run.child.kind, seconds=round(healthy_for, 1))
        await run.child.stop()

    def _look_at(self, run: _Run, *, tries: int = 1) -> None:
        """Ask it whether it lives, and end it if it does not say so; nobody is let in meanwhile."""
        if run is self._run and run.look is None:
            run.look = asyncio.create_task(self._look(run, tries))

    async def _look(self, run: _Run, tries: int) -> None:
        try:
            for _ in range(tries):
                if await run.child.healthy(CHECK_SECONDS):
                    return
            if run is self._run:
                self._log.error("engine.hangs")
                run.child.kill()
                await asyncio.wait((run.watch,))
        finally:
            run.look = None

    async def _end(self, run: _Run) -> None:
        try:
            if run.look is not None:
                run.look.cancel()
            await run.child.stop()
            await asyncio.wait((run.watch,))
        finally:
            self._stopping = None

    def _forget(self, run: _Run) -> float:
        """It is nobody's any more. Returns how long it was in health."""
        if self._run is run:
            self._run = None
        run.slots.close()
        healthy_for = self._clock.monotonic() - run.since
        if healthy_for >= SETTLED_SECONDS:
            self._backoff.reset()
        return healthy_for

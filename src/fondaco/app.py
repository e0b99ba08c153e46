"""The composition root: the only file that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any

from fondaco.accounts.service import AccountService
from fondaco.chat import routes as chat_routes
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.service import ChatService
from fondaco.clock import SystemClock
from fondaco.engines.supervisor import Supervisor
from fondaco.engines.weights import WeightStore
from fondaco.http import docs, health
from fondaco.http.call import Call
from fondaco.http.cors import Cors
from fondaco.http.edge import Edge
from fondaco.http.health import Readiness
from fondaco.http.routing import Routes
from fondaco.keys.secret import server_secret
from fondaco.keys.service import FirstKeys, KeyService
from fondaco.local_models import LocalModels
from fondaco.models import routes as model_routes
from fondaco.models.catalogue import Catalogue
from fondaco.models.registry import Registry
from fondaco.models.service import ModelsService
from fondaco.models.serving import LocalServing, Served
from fondaco.settings import ModelSettings, Settings
from fondaco.store.sqlite import Database
from fondaco.telemetry.access import AccessLog
from fondaco.telemetry.logs import logger
from fondaco.upstream.seats import Seats
from fondaco.upstream.transports import open_transport

REFRESH_SECONDS = 2.0


class App:
    """The gateway. `start` it on the loop that serves it, give calls to `handle`, `close` it there last."""

    def __init__(self, settings: Settings) -> None:
        """Raises ModelSettingsError for models that cannot be, and WeightError for a file's name that is none."""
        self.settings = settings
        self._clock = SystemClock()
        self._log = logger("fondaco.app")
        self.weights = WeightStore(settings.weights)
        self.local = LocalModels(settings.models, self.weights)
        self.runtime = importlib.util.find_spec("xllamacpp") is not None
        self.registry = Registry(
            _with_stand_ins(settings),
            Catalogue(),
            self.local.has_weight,
            settings.weights.offline,
            self.runtime,
            context_tokens=settings.engines.context_tokens,
            context_of=self.local.context_of,
        )
        for served in self.registry.listed("text"):
            if isinstance(served.serving, LocalServing):
                self.local.note(served.model.id, served.serving)
        for model_id, binding in settings.models.bind.items():
            if binding.api_key_env and not os.environ.get(binding.api_key_env):
                self._log.warning("binding.key_unset", model=model_id)
        self._database = Database(settings.server.data_dir)
        self._access: AccessLog | None = None
        self._edge: Edge | None = None
        self._was_ready = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> FirstKeys | None:
        """Open the store and the engines. Returns the keys that the first start made, if this is it."""
        settings = self.settings
        data_dir: Path = settings.server.data_dir
        async with contextlib.AsyncExitStack() as stack:
            await self._database.open()
            stack.push_async_callback(self._database.close)
            accounts = AccountService(self._database, self._clock)
            keys = KeyService(self._database, server_secret(data_dir), self._clock, accounts)
            stack.push_async_callback(keys.close)
            first = await keys.ensure_first(settings.keys.admin_key)
            transport = open_transport()
            stack.push_async_callback(transport.close)
            stack.push_async_callback(self.weights.close)
            supervisor = Supervisor(
                settings.engines,
                data_dir / "run",
                self.weights,
                wait_seconds=settings.weights.wait_seconds,
                log=logger("fondaco.engines"),
            )
            await supervisor.start()
            stack.push_async_callback(supervisor.close)
            self.local.use(supervisor)
            prompt = PromptBuilder(self._clock, settings.prompt.system)
            chats = ChatService(self.registry, prompt, Seats(self.local), transport, self._clock)
            models = ModelsService(self.registry, settings.contract.profile)
            table = [
                *chat_routes.routes(chats),
                *model_routes.routes(models),
                *health.routes(self.readiness),
            ]
            if settings.server.docs:
                table += docs.routes(table)
            self._access = AccessLog(settings.log)
            stack.callback(self._access.flush)
            origins = settings.server.cors_origins
            self._edge = Edge(
                Routes(table),
                keys,
                logger("fondaco.http"),
                self._access if settings.log.access else None,
                Cors(origins) if origins else None,
            )
            self._stack = stack.pop_all()
        self._spawn(self._keep_fresh())
        default = self.registry.default_text()
        if default is not None and isinstance(default.serving, LocalServing) and self.runtime:
            self._spawn(supervisor.preload(self.local.note(default.model.id, default.serving)))
        return first

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def handle(self, call: Call) -> Awaitable[None]:
        """Answer one request."""
        assert self._edge is not None, "the app has not been started"
        return self._edge.handle(call)

    def default(self) -> Served | None:
        return self.registry.default_text()

    def readiness(self) -> Readiness:
        """Whether the default model can answer; a bound one is taken at its word."""
        default = self.registry.default_text()
        if default is None:
            return Readiness(ready=False, state="no text model")
        name = default.model.id
        if not isinstance(default.serving, LocalServing):
            return Readiness(ready=True, model=name, state="bound")
        state = self.local.state(name)
        # An engine that idled out, or was ended, starts again with the next request.
        asleep = state == "stopped" and self._was_ready and self.local.is_here(name)
        ready = state == "ready" or asleep
        self._was_ready = self._was_ready or ready
        percent = None
        if (progress := self.local.progress(name)) is not None and progress.total:
            percent = 100 * progress.done // progress.total
        return Readiness(ready=ready, model=name, state=state, percent=percent)

    async def _keep_fresh(self) -> None:
        """See weights that came or went, by whichever process, and what loaded engines say of their context."""
        seen = self._signature()
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            now = self._signature()
            if now != seen:
                seen = now
                self.registry.refresh()
                for served in self.registry.listed("text"):
                    if isinstance(served.serving, LocalServing):
                        self.local.note(served.model.id, served.serving)

    def _signature(self) -> list[tuple[str, bool, int | None]]:
        return [
            (served.model.id, self.local.is_here(served.model.id), self.local.context_of(served.model.id))
            for served in self.registry.listed("text")
            if isinstance(served.serving, LocalServing)
        ]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("task.failed", exc_info=error)


def _with_stand_ins(settings: Settings) -> ModelSettings:
    """In prepaid mode a name means the model that was paid for, unless the settings say otherwise."""
    models = settings.models
    if settings.billing.mode == "prepaid" and "stand_ins" not in models.model_fields_set:
        return models.model_copy(update={"stand_ins": False})
    return models

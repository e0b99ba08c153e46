"""The composition root: the only file that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fondaco.accounts.service import AccountService
from fondaco.augment import routes as augment_routes
from fondaco.augment.embedder import EngineEmbedder
from fondaco.augment.need import warm
from fondaco.augment.service import AugmentService
from fondaco.augment.sources import Sources
from fondaco.billing.ledger import Ledger
from fondaco.billing.meter import Meter
from fondaco.billing.prices.free import free_of_charge
from fondaco.billing.quoting import routes as quoting_routes
from fondaco.billing.quoting.goods import goods
from fondaco.billing.quoting.known import KnownModels
from fondaco.billing.quoting.service import QuoteService
from fondaco.billing.reports import routes as billing_routes
from fondaco.billing.reports.analytics import Analytics
from fondaco.billing.reports.balance import BalanceReport
from fondaco.billing.reports.history import History
from fondaco.billing.reports.key_usage import KeyUsage
from fondaco.billing.reports.usage import UsagePages
from fondaco.characters import routes as character_routes
from fondaco.characters.roster import Roster
from fondaco.chat import routes as chat_routes
from fondaco.chat.cast import Cast
from fondaco.chat.enclosures import Enclosures
from fondaco.chat.prompt import PromptBuilder
from fondaco.chat.quote import ChatQuotes
from fondaco.chat.service import ChatService
from fondaco.chat.web import Web
from fondaco.clock import Clock, SystemClock
from fondaco.embeddings import routes as embedding_routes
from fondaco.embeddings.service import EmbeddingService
from fondaco.engines.kinds import installed
from fondaco.engines.supervisor import Supervisor
from fondaco.engines.weights import WeightStore
from fondaco.http import docs, health
from fondaco.http.call import Call
from fondaco.http.cors import Cors
from fondaco.http.edge import Edge
from fondaco.http.health import Readiness
from fondaco.http.idempotent import idempotent
from fondaco.http.limit_headers import LimitHeaders
from fondaco.http.limiting import Limiting, limited
from fondaco.http.routing import Route, Routes
from fondaco.idempotency.service import Idempotency
from fondaco.keys import routes as key_routes
from fondaco.keys.secret import server_secret
from fondaco.keys.service import FirstKeys, KeyService
from fondaco.keys.stake import NodeStake
from fondaco.keys.wallet import WalletKeys
from fondaco.limits import routes as limit_routes
from fondaco.limits.abuse import Abuse
from fondaco.limits.refusals import RefusalLog
from fondaco.limits.report import LimitReport
from fondaco.limits.service import Limiter
from fondaco.local_models import LocalModels
from fondaco.models import routes as model_routes
from fondaco.models.catalogue import Catalogue
from fondaco.models.model import Model
from fondaco.models.registry import Registry
from fondaco.models.seating import Seating
from fondaco.models.service import ModelsService
from fondaco.models.serving import LocalServing, Served
from fondaco.money import from_decimal
from fondaco.settings import KeySettings, ModelSettings, Settings
from fondaco.speech import routes as speech_routes
from fondaco.speech.service import SpeechService
from fondaco.store.presence import Presence
from fondaco.store.sqlite import Database
from fondaco.telemetry.access import AccessLog
from fondaco.telemetry.logs import logger
from fondaco.transcription import routes as transcription_routes
from fondaco.transcription.service import TranscriptionService
from fondaco.upstream.seats import Seats
from fondaco.upstream.transcription import Transcribers
from fondaco.upstream.transports import open_transport

REFRESH_SECONDS = 2.0


class App:
    """The gateway. `start` it on the loop that serves it, give calls to `handle`, `close` it there last."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        """Raises ModelSettingsError for models that cannot be, and WeightError for a file's name that is none."""
        self.settings = settings
        self._clock = clock or SystemClock()
        self._log = logger("fondaco.app")
        self.weights = WeightStore(settings.weights)
        self.local = LocalModels(settings.models, self.weights)
        self.runtimes = installed()
        self._catalogue = Catalogue()
        self.registry = Registry(
            _with_stand_ins(settings),
            self._catalogue,
            self.local.has_weight,
            settings.weights.offline,
            self.runtimes,
            context_tokens=settings.engines.context_tokens,
            context_of=self.local.context_of,
            web_search=True,
            adjust=free_of_charge if settings.billing.free else None,
        )
        self._note_local()
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
            presence = Presence(self._database, self._clock)
            await presence.open()
            stack.push_async_callback(presence.close)
            ledger, meter, limiting, limiter, refusals = await self._gates(stack, presence)
            secret = server_secret(data_dir)
            accounts = AccountService(self._database, self._clock)
            keys = KeyService(self._database, secret, self._clock, accounts, on_limits=ledger.relimit)
            stack.push_async_callback(keys.close)
            first = await keys.ensure_first(settings.keys.admin_key)
            idempotency = Idempotency(
                self._database, secret, self._clock, presence, write_end=ledger.after_settlements
            )
            stack.push_async_callback(idempotency.close)
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
            roster = Roster(self._database)
            await roster.open()
            stack.push_async_callback(roster.close)
            prompt = PromptBuilder(self._clock, settings.prompt.system, settings.prompt.by_model)
            cast = Cast(roster, prompt)
            seating = Seating(Seats(self.local))
            meanings = settings.search.embedding
            embedder = EngineEmbedder(meanings, self.registry, seating, transport) if meanings else None
            sources = Sources(settings.net, settings.search, data_dir, embedder)
            stack.push_async_callback(sources.close)
            web = Web(sources.search, sources.scraper, embedder, settings.search.max_characters)
            chats = ChatService(
                self.registry,
                prompt,
                Seats(self.local),
                transport,
                meter,
                self._clock,
                Enclosures(sources.fetcher, sources.documents),
                cast,
                web,
            )
            speech = SpeechService(self.registry, seating, transport, meter, self._clock)
            transcribers = Transcribers(transport)
            transcriptions = TranscriptionService(self.registry, seating, transcribers, meter, self._clock)
            embeddings = EmbeddingService(self.registry, seating, transport, meter, self._clock)
            augment = AugmentService(sources.search, sources.scraper, sources.documents, meter, self._clock)
            models = ModelsService(self.registry, settings.contract.profile)
            table = [
                *_run_once(chat_routes.routes(chats), idempotency),
                *_run_once(speech_routes.routes(speech), idempotency),
                *_run_once(transcription_routes.routes(transcriptions), idempotency),
                *_run_once(embedding_routes.routes(embeddings), idempotency),
                *_run_once(augment_routes.routes(augment), idempotency),
                *model_routes.routes(models),
                *character_routes.routes(roster, self._default_model),
                *self._money_routes(ChatQuotes(self._known(), prompt, cast, web), ledger, secret),
                *limit_routes.routes(self._limit_report(keys, ledger, refusals)),
                *_creation_limited(
                    key_routes.routes(
                        keys,
                        WalletKeys(
                            keys,
                            accounts,
                            secret,
                            self._clock,
                            enabled=settings.keys.web3,
                            stake=_stake(settings.keys),
                        ),
                        KeyUsage(self._database, self._clock),
                    ),
                    limiter,
                ),
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
                limiting,
            )
            self._stack = stack.pop_all()
        self._spawn(self._keep_fresh())
        self._spawn(sources.index.keep_embedded())
        # Its weights take longer to be read than it may take to decide.
        self._spawn(asyncio.to_thread(warm))
        default = self.registry.default_text()
        if default is not None and isinstance(default.serving, LocalServing):
            self._spawn(supervisor.preload(self.local.note(default.model.id, default.serving)))
        return first

    async def _gates(
        self, stack: contextlib.AsyncExitStack, presence: Presence
    ) -> tuple[Ledger, Meter, Limiting, Limiter, RefusalLog]:
        """Who admits requests and charges them, open until `stack` is left."""
        settings, database, clock = self.settings, self._database, self._clock
        prepaid = self._prepaid
        ledger = Ledger(
            database,
            clock,
            presence,
            prepaid=prepaid,
            minimum_balance=from_decimal(settings.billing.minimum_balance),
        )
        await ledger.open()
        stack.push_async_callback(ledger.close)
        refusals = RefusalLog(database, clock)
        stack.push_async_callback(refusals.close)
        limiter = Limiter(database, clock, presence, refusals, settings.limits.scale)
        stack.push_async_callback(limiter.close)
        abuse = Abuse(settings.limits.abuse_failures, clock, refusals)
        live = settings.contract.profile == "live"
        unit = settings.contract.reset_headers or ("milliseconds" if live else "seconds")
        limiting = Limiting(abuse, LimitHeaders(clock, abuse, unit), ledger if prepaid else None)
        return ledger, Meter(limiter, ledger), limiting, limiter, refusals

    @property
    def _prepaid(self) -> bool:
        """Balances are enforced and told; where all is free there is nothing to be paid from them."""
        billing = self.settings.billing
        return billing.mode == "prepaid" and not billing.free

    def _known(self) -> KnownModels:
        return KnownModels(self.registry, self._catalogue)

    def _money_routes(self, chats: ChatQuotes, ledger: Ledger, secret: bytes) -> list[Route]:
        database, clock, billing = self._database, self._clock, self.settings.billing
        quotes = QuoteService([chats.quotable, *goods(self._known())], free=billing.free)
        minimum = from_decimal(billing.minimum_balance)
        return [
            *quoting_routes.routes(quotes),
            *billing_routes.routes(
                UsagePages(database, clock),
                History(database, clock, secret),
                BalanceReport(ledger.balances, prepaid=self._prepaid, minimum_balance=minimum),
                Analytics(database, clock, self._model),
                clock,
            ),
        ]

    def _default_model(self) -> str:
        """What characters are said to be for that are for no model in particular."""
        default = self.registry.default_text()
        return "default" if default is None else default.model.id

    def _model(self, model_id: str) -> Model | None:
        """A model that is asked here, or was once."""
        for served in self.registry.listed():
            if served.model.id == model_id:
                return served.model
        return self._catalogue.find(model_id)

    def _limit_report(self, keys: KeyService, ledger: Ledger, refusals: RefusalLog) -> LimitReport:
        settings = self.settings
        return LimitReport(
            keys,
            ledger,
            refusals,
            lambda: (served.model for served in self.registry.listed()),
            self._clock,
            scale=settings.limits.scale,
            free=settings.billing.free,
            least_balance=from_decimal(settings.billing.minimum_balance) if self._prepaid else None,
        )

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
                self._note_local()

    def _note_local(self) -> None:
        for served in self.registry.listed():
            if isinstance(served.serving, LocalServing):
                self.local.note(served.model.id, served.serving)

    def _signature(self) -> list[tuple[str, bool, int | None]]:
        return [
            (served.model.id, self.local.is_here(served.model.id), self.local.context_of(served.model.id))
            for served in self.registry.listed()
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


def _run_once(routes: list[Route], idempotency: Idempotency) -> list[Route]:
    """Routes whose POSTs obey an `Idempotency-Key`."""
    return [
        replace(
            route,
            endpoint=idempotent(route.endpoint, idempotency),
            operation=replace(route.operation, once=True),
        )
        for route in routes
    ]


def _creation_limited(routes: list[Route], limiter: Limiter) -> list[Route]:
    """Making keys has a rate of its own."""
    return [
        replace(route, endpoint=limited(route.endpoint, limiter, "endpoint:api/v1/api_keys", "key_creation"))
        if (route.operation.method, route.operation.path) == ("POST", "/api_keys")
        else route
        for route in routes
    ]


def _stake(keys: KeySettings) -> NodeStake | None:
    if keys.web3_stake_rpc and keys.web3_stake_contract:
        return NodeStake(keys.web3_stake_rpc, keys.web3_stake_contract, keys.web3_stake)
    return None

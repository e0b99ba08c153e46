"""Admits requests within the rates of their account and model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from typing import Protocol

from fondaco.clock import Clock
from fondaco.errors import RateLimitExceeded
from fondaco.limits.admission import LIFTED, Admission
from fondaco.limits.refusals import RefusalLog
from fondaco.limits.shared import SharedWindows
from fondaco.limits.ticket import Ticket
from fondaco.limits.tiers import rates
from fondaco.limits.windows import Windows
from fondaco.store.interface import Store
from fondaco.telemetry.logs import logger

_log = logger(__name__)


class Presence(Protocol):
    """This process among the gateways of one database."""

    @property
    def alone(self) -> bool: ...

    def on_company(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop when another gateway appears."""
        ...


class Limiter:
    """One a process; `close` it before its database.

    It decides in memory while this gateway is alone with its database, and by the database while it is not.
    """

    def __init__(
        self, database: Store, clock: Clock, presence: Presence, refusals: RefusalLog, scale: float = 1
    ) -> None:
        """`scale` multiplies every rate; 0 lifts them all."""
        self._rates = rates(scale)
        self._clock = clock
        self._presence = presence
        self._refusals = refusals
        self._windows = Windows(clock)
        self._shared = SharedWindows(database, clock, self._windows)
        self._alone = False
        self._switching: asyncio.Task[None] | None = None
        presence.on_company(self._join)

    async def admit(self, ticket: Ticket, model_id: str, tier: str, tokens: int) -> Admission:
        """Give the request a place in the window of its account and `model_id`, and `tokens` of what that has left.

        An endpoint with a rate of its own has its path in the model's place: `endpoint:api/v1/api_keys`. A
        reservation larger than a whole window's tokens takes all of them, and so waits for a window without others.
        Sets `ticket.admission`, also where it raises RateLimitExceeded. KeyError for a tier that is none.
        """
        rate = self._rates[tier]
        if rate is None:
            ticket.admission = LIFTED
            return LIFTED
        if self._presence.alone is not self._alone:
            await self._switch()
        if rate.tokens is None:
            tokens = 0
        elif tokens > rate.tokens:
            tokens = rate.tokens
        account_id = ticket.caller.account_id
        if self._alone:
            admission = self._windows.admit(account_id, model_id, rate, tokens)
        else:
            admission = await self._shared.admit(account_id, model_id, rate, tokens)
        ticket.admission = admission
        if admission.refused is not None:
            raise self._refusal(ticket, model_id, admission)
        return admission

    async def close(self) -> None:
        """Write down what is still to be written."""
        if self._switching is not None:
            await asyncio.shield(self._switching)
        await self._shared.close()

    def _refusal(self, ticket: Ticket, model_id: str, admission: Admission) -> RateLimitExceeded:
        assert admission.window is not None
        assert admission.refused is not None
        self._refusals.note(ticket.caller, model_id, admission.refused)
        left = admission.window.ends - self._clock.monotonic()
        return RateLimitExceeded(retry_after=max(1, ceil(left)))

    def _join(self) -> None:
        """Another gateway has appeared: it should see our windows, whether or not somebody asks us."""
        if self._alone and self._switching is None:
            self._begin_switch()

    async def _switch(self) -> None:
        while self._presence.alone is not self._alone:
            # A task of its own: a client that leaves must not stop it halfway.
            await asyncio.shield(self._switching or self._begin_switch())

    def _begin_switch(self) -> asyncio.Task[None]:
        self._switching = asyncio.get_running_loop().create_task(self._move())
        return self._switching

    async def _move(self) -> None:
        try:
            await (self._shared.publish() if self._alone else self._shared.take_over())
        except Exception as error:
            _log.error("rates.not_shared", exc_info=error)
        finally:
            # In here, not in a callback: whoever awaits a task that is done goes on before its callbacks run.
            self._alone = not self._alone
            self._switching = None

"""What the edge does for limits: a ticket for each caller, and what the headers of every answer say."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from typing import Protocol

from fondaco.errors import FondacoError
from fondaco.http.call import Call
from fondaco.http.limit_headers import LimitHeaders
from fondaco.http.reply import Reply
from fondaco.http.routing import Endpoint
from fondaco.keys.caller import Caller
from fondaco.limits.abuse import Abuse, counts
from fondaco.limits.service import Limiter
from fondaco.limits.ticket import Balances, Ticket
from fondaco.store.errors import StoreError


class Purses(Protocol):
    """What accounts have; see `fondaco.billing.ledger`."""

    def known_balances(self, account_id: str) -> Balances | None: ...
    async def balances(self, account_id: str) -> Balances: ...


class Limiting:
    def __init__(self, abuse: Abuse, headers: LimitHeaders, purses: Purses | None = None) -> None:
        """`purses` where balances are told."""
        self._abuse = abuse
        self._purses = purses
        self.headers = headers.of

    def enter(self, ticket: Ticket) -> Awaitable[None] | None:
        """Let an authenticated request in; what is given back, if anything, must be awaited. Raises TooManyFailures."""
        self._abuse.check(ticket.caller)
        if self._purses is None:
            return None
        ticket.balances = self._purses.known_balances(ticket.caller.account_id)
        return None if ticket.balances is not None else self._look_up(ticket, self._purses)

    def failed(self, caller: Caller, error: FondacoError) -> None:
        if counts(error):
            self._abuse.note(caller)

    async def _look_up(self, ticket: Ticket, purses: Purses) -> None:
        """The first time that an account is met here. An answer goes without what cannot be read now."""
        with contextlib.suppress(StoreError):
            ticket.balances = await purses.balances(ticket.caller.account_id)


def limited(endpoint: Endpoint, limiter: Limiter, name: str, tier: str) -> Endpoint:
    """`endpoint` with a rate of its own, told as `name` in the log of refusals."""

    async def admitted(call: Call) -> Reply:
        await limiter.admit(call.admitted, name, tier, 0)
        return await endpoint(call)

    return admitted

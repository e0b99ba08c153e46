"""What the edge does for limits: a ticket for each caller, and what the headers of every answer say."""

from __future__ import annotations

from collections.abc import Callable

from fondaco.errors import FondacoError
from fondaco.http.call import Call
from fondaco.http.limit_headers import LimitHeaders
from fondaco.http.reply import Reply
from fondaco.http.routing import Endpoint
from fondaco.keys.caller import Caller
from fondaco.limits.abuse import Abuse, counts
from fondaco.limits.service import Limiter
from fondaco.limits.ticket import Balances, Ticket


class Limiting:
    def __init__(
        self, abuse: Abuse, headers: LimitHeaders, balances: Callable[[str], Balances | None] | None = None
    ) -> None:
        """`balances` by account, where they are told."""
        self._abuse = abuse
        self._balances = balances
        self.headers = headers.of

    def enter(self, ticket: Ticket) -> None:
        """Let an authenticated request in. Raises TooManyFailures."""
        if self._balances is not None:
            ticket.balances = self._balances(ticket.caller.account_id)
        self._abuse.check(ticket.caller)

    def failed(self, caller: Caller, error: FondacoError) -> None:
        if counts(error):
            self._abuse.note(caller)


def limited(endpoint: Endpoint, limiter: Limiter, name: str, tier: str) -> Endpoint:
    """`endpoint` with a rate of its own, told as `name` in the log of refusals."""

    async def admitted(call: Call) -> Reply:
        await limiter.admit(call.admitted, name, tier, 0)
        return await endpoint(call)

    return admitted

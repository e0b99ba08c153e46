"""The two gates that every charged request passes, as one: its rate, then its money."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from fondaco.billing.charge import Charge
from fondaco.billing.ledger import Ledger
from fondaco.billing.line import Bill
from fondaco.billing.use import Use
from fondaco.errors import LedgerUnavailable, PaymentRequired
from fondaco.limits.admission import Admission
from fondaco.limits.service import Limiter
from fondaco.limits.ticket import Ticket
from fondaco.money import NanoUsd


class Metered:
    """An admitted request. It ends once: settled, or void."""

    __slots__ = ("_admission", "_begun", "_charge", "walled")

    def __init__(self, admission: Admission, charge: Charge) -> None:
        self._admission = admission
        self._charge = charge
        self._begun = False
        """Something has been held for it, and may have been done."""
        self.walled = charge.walled
        """Its cost must be held before it runs."""

    @property
    def currency(self) -> str:
        return self._charge.currency

    async def hold(self, ceiling: NanoUsd, least: NanoUsd | None = None) -> NanoUsd:
        """Hold what it may cost, see `Charge.hold`. Where nothing could be held at all, the rate is given back too."""
        try:
            held = await self._charge.hold(ceiling, least)
        except (PaymentRequired, LedgerUnavailable):
            if not self._begun:
                self._admission.give_back()
            raise
        self._begun = True
        return held

    def grow(self, more: NanoUsd) -> Awaitable[bool]:
        """Hold so much more; False where there is not so much."""
        return self._charge.grow(more)

    def settle(self, bill: Bill, use: Use, tokens: int = 0) -> Awaitable[NanoUsd]:
        """Write down what it cost; durable when that is known."""
        self._admission.used(tokens)
        return self._charge.settle(bill, use)

    def settle_soon(self, bill: Bill, use: Use, tokens: int = 0) -> None:
        """The same for a client that has left: nobody waits for it, and nothing is lost."""
        self._admission.used(tokens)
        self._charge.settle_soon(bill, use)

    def void(self) -> None:
        """Nothing was got for it, so nothing is charged. Harmless when it has ended."""
        self._admission.used(0)
        self._charge.void()


class Rated(Protocol):
    """A model, or an endpoint that is paid by the call."""

    @property
    def id(self) -> str: ...
    @property
    def tier(self) -> str: ...


class Meter:
    def __init__(self, limiter: Limiter, ledger: Ledger) -> None:
        self._limiter = limiter
        self._ledger = ledger

    async def admit(self, ticket: Ticket, model: Rated, tokens: int = 0) -> Metered:
        """Let a request to `model` in that will use about so many tokens.

        Raises RateLimitExceeded, and LedgerUnavailable where its cost could not be written down.
        """
        charge = self._ledger.charge(ticket, model.id)
        try:
            return Metered(await self._limiter.admit(ticket, model.id, model.tier, tokens), charge)
        except BaseException:
            charge.void()
            raise

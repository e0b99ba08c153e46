"""What a key is told of its limits: what it may ask, what its account has, and what was refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import msgspec
from msgspec import UNSET

from fondaco import money
from fondaco.clock import Clock
from fondaco.keys import times
from fondaco.keys.caller import Caller
from fondaco.keys.service import KeyService
from fondaco.limits.refusals import API_TIER, Refusal, RefusalLog
from fondaco.limits.ticket import Balances
from fondaco.limits.tiers import Rate, rates
from fondaco.limits.wire import (
    ApiTier,
    BalancesRow,
    ModelRateLimits,
    RateLimit,
    RateLimitsAnswer,
    RateLimitsRow,
    RefusalList,
    RefusalRow,
)
from fondaco.models.model import Model
from fondaco.money import NanoUsd

BalancesT = TypeVar("BalancesT", bound=Balances, covariant=True)


class Funds(Protocol[BalancesT]):
    """Where balances are known."""

    async def balances(self, account_id: str) -> BalancesT: ...


class LimitReport:
    def __init__(
        self,
        keys: KeyService,
        funds: Funds[Balances],
        refusals: RefusalLog,
        models: Callable[[], Iterable[Model]],
        clock: Clock,
        *,
        scale: float = 1,
        free: bool = False,
        least_balance: NanoUsd | None = None,
    ) -> None:
        """`models` are those that can be asked. With `free` nothing is charged.

        Where balances are enforced an account must have more than `least_balance` to be served; None: they are not.
        """
        self._keys = keys
        self._funds = funds
        self._refusals = refusals
        self._models = models
        self._clock = clock
        self._rates = rates(scale)
        self._free = free
        self._least = None if free else least_balance

    async def rate_limits(self, caller: Caller, key_id: str | None = None) -> RateLimitsAnswer:
        """Of the caller's own key, or of another one of its account. Raises KeyNotFound."""
        expires_at = caller.expires_at
        if key_id is not None:
            expires_at = (await self._keys.get_own(caller.account_id, key_id)).expires_at
        balances = await self._funds.balances(caller.account_id)
        return RateLimitsAnswer(
            RateLimitsRow(
                access_permitted=self._can_pay(balances),
                api_tier=ApiTier(API_TIER, not self._free),
                balances=BalancesRow(
                    usd=_number(balances.usd),
                    diem=_number(balances.diem),
                    bundled_credits=_number(balances.bundled) if balances.bundled else UNSET,
                ),
                key_expiration=None if expires_at is None else times.written(expires_at),
                next_epoch_begins=times.written(_midnight_after(self._clock.now())),
                rate_limits=[
                    ModelRateLimits(model.id, _listed(self._rates[model.tier])) for model in self._models()
                ],
            )
        )

    async def refusals(self, caller: Caller, key_id: str | None = None) -> RefusalList:
        """The last 50 of the account, newest first, or those of them that are one key's. Raises KeyNotFound."""
        if key_id is not None:
            await self._keys.get_own(caller.account_id, key_id)
        found = await self._refusals.last(caller.account_id, key_id)
        return RefusalList([_row(refusal) for refusal in found])

    def _can_pay(self, balances: Balances) -> bool:
        if self._least is None:
            return True
        return max(balances.usd, balances.diem, balances.bundled) > self._least


def _listed(rate: Rate | None) -> list[RateLimit]:
    if rate is None:
        return []
    requests = RateLimit(rate.requests, "RPM")
    return [requests] if rate.tokens is None else [requests, RateLimit(rate.tokens, "TPM")]


def _row(refusal: Refusal) -> RefusalRow:
    return RefusalRow(
        api_key_id=refusal.key_id,
        model_id=refusal.model_id,
        rate_limit_tier=refusal.tier,
        rate_limit_type=refusal.type,
        timestamp=times.written(refusal.at),
    )


def _number(amount: NanoUsd) -> msgspec.Raw:
    return msgspec.Raw(money.to_json(amount))


def _midnight_after(now: datetime) -> datetime:
    """When the next UTC day, and so the next epoch, begins."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

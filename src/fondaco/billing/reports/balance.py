"""`/billing/balance`: what is there to spend, and which currency goes first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fondaco.billing.balances import Balances
from fondaco.billing.line import Currency
from fondaco.billing.reports.wire import BalanceAmounts, BalanceAnswer, number
from fondaco.money import NanoUsd

_NONE = NanoUsd(0)


class BalanceReport:
    def __init__(
        self,
        balances: Callable[[str], Awaitable[Balances]],
        *,
        prepaid: bool,
        minimum_balance: NanoUsd = _NONE,
    ) -> None:
        """Without `prepaid` nothing is refused for want of a balance, and none is told."""
        self._balances = balances
        self._prepaid = prepaid
        self._minimum = minimum_balance

    async def of(self, account_id: str) -> BalanceAnswer:
        if not self._prepaid:
            return BalanceAnswer(True, None, BalanceAmounts(None, None), number(0))
        has = await self._balances(account_id)
        currency = self._first(has)
        staking = has.diem_allocation > 0 or has.diem > 0
        return BalanceAnswer(
            can_consume=currency is not None,
            consumption_currency=currency,
            balances=BalanceAmounts(number(has.diem) if staking else None, number(has.usd)),
            diem_epoch_allocation=number(has.diem_allocation),
        )

    def _first(self, has: Balances) -> Currency | None:
        """The currency that the next request would take (CONTRACT 2.7); None if none holds more than it must."""
        in_order: tuple[tuple[Currency, NanoUsd], ...] = (
            ("DIEM", has.diem),
            ("BUNDLED_CREDITS", has.bundled),
            ("USD", has.usd),
        )
        return next((currency for currency, amount in in_order if amount > self._minimum), None)

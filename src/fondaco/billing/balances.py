"""What an account has, as it is remembered between two looks into the database: for headers, never for decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fondaco.billing import epochs
from fondaco.billing.line import Currency
from fondaco.clock import Clock
from fondaco.money import NanoUsd

_MOST_KNOWN = 10_000


class Balances(msgspec.Struct, frozen=True):
    """What can be spent, what running requests hold included. DIEM is what is left of the day's."""

    usd: NanoUsd = NanoUsd(0)
    diem: NanoUsd = NanoUsd(0)
    bundled: NanoUsd = NanoUsd(0)
    diem_allocation: NanoUsd = NanoUsd(0)
    """DIEM that each day begins with."""

    @property
    def total(self) -> NanoUsd:
        return NanoUsd(self.usd + self.diem + self.bundled)


class KnownBalances:
    """Accounts seen lately. All methods are for the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._purses: dict[str, _Purse] = {}

    def get(self, account_id: str) -> Balances | None:
        """None where nothing is known."""
        purse = self._purses.get(account_id)
        if purse is None:
            return None
        purse.used = True
        if self._clock.unix() >= purse.until:
            purse.balances = msgspec.structs.replace(purse.balances, diem=purse.balances.diem_allocation)
            purse.until = epochs.day(self._clock.unix()).until
        return purse.balances

    def keep(self, found: Mapping[str, Balances]) -> None:
        """What the database has just said."""
        until = epochs.day(self._clock.unix()).until
        for account_id, balances in found.items():
            purse = self._purses.get(account_id)
            if purse is None:
                if len(self._purses) >= _MOST_KNOWN:
                    del self._purses[next(iter(self._purses))]
                self._purses[account_id] = _Purse(balances, until)
            else:
                purse.balances, purse.until = balances, until

    def spend(self, account_id: str, currency: Currency, amount: int, until: int) -> None:
        """So much was written down as spent, out of funds that are good until that Unix second."""
        purse = self._purses.get(account_id)
        if purse is None or not amount:
            return
        had = purse.balances
        if currency == "USD":
            purse.balances = Balances(NanoUsd(had.usd - amount), had.diem, had.bundled, had.diem_allocation)
        elif currency == "BUNDLED_CREDITS":
            purse.balances = Balances(had.usd, had.diem, NanoUsd(had.bundled - amount), had.diem_allocation)
        elif until == purse.until:  # of an earlier day it was another allowance
            purse.balances = Balances(had.usd, NanoUsd(had.diem - amount), had.bundled, had.diem_allocation)

    def used(self) -> Sequence[str]:
        """Accounts asked for since this was last called; the others are forgotten."""
        self._purses = {account_id: purse for account_id, purse in self._purses.items() if purse.used}
        for purse in self._purses.values():
            purse.used = False
        return tuple(self._purses)


class _Purse:
    __slots__ = ("balances", "until", "used")

    def __init__(self, balances: Balances, until: int) -> None:
        self.balances = balances
        self.until = until
        self.used = True

"""What a request carries on its way through limits and money: who asks, and what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sqlalchemy import Connection

from fondaco.keys.caller import Caller
from fondaco.limits.admission import Admission
from fondaco.money import NanoUsd

Join = Callable[[Connection, NanoUsd, str], None]
"""Part of the transaction that settles a request; told what was charged and in which currency."""


class Ticket:
    """One authenticated request. Made by the edge, filled in by whoever admits and charges it."""

    __slots__ = ("admission", "balances", "caller", "joins", "request_id")

    def __init__(self, caller: Caller, request_id: str) -> None:
        self.caller = caller
        self.request_id = request_id
        self.admission: Admission | None = None
        """Its place in a rate window, once it has one; a refused request's too."""
        self.balances: Balances | None = None
        """What the account had before this request, where balances are told."""
        self.joins: tuple[Join, ...] = ()


class Balances(Protocol):
    @property
    def usd(self) -> NanoUsd: ...
    @property
    def diem(self) -> NanoUsd: ...
    @property
    def bundled(self) -> NanoUsd: ...

"""What keys have spent, as a key's row tells it; whoever keeps the books answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from fondaco.keys.caller import Period
from fondaco.money import NanoUsd


class Spent(Protocol):
    """In nano-dollars. Dollars include bundled credits."""

    @property
    def usd(self) -> NanoUsd: ...
    @property
    def diem(self) -> NanoUsd: ...


class KeyUsage(Protocol):
    """A key that an answer leaves out has spent nothing."""

    async def trailing(self, key_ids: Sequence[str]) -> Mapping[str, Spent]:
        """By key id, what was spent in the last seven days."""
        ...

    async def in_period(self, keys: Mapping[str, Period]) -> Mapping[str, Spent]:
        """By key id, what was spent in the running period of each key, given with its period."""
        ...


class Nothing(msgspec.Struct, frozen=True):
    """What a key has spent that was never used."""

    usd: NanoUsd = NanoUsd(0)
    diem: NanoUsd = NanoUsd(0)


class NoBooks:
    """Where nobody keeps books, nothing was spent."""

    async def trailing(self, key_ids: Sequence[str]) -> Mapping[str, Spent]:
        return {}

    async def in_period(self, keys: Mapping[str, Period]) -> Mapping[str, Spent]:
        return {}

"""How much each tier may ask in a minute: the table of `tiers.toml`, times the operator's scale."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources

import msgspec


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A minute's allowance. Without `tokens`, tokens are not counted."""

    requests: int
    tokens: int | None = None


def rates(scale: float = 1) -> Mapping[str, Rate | None]:
    """Each tier's rate times `scale`, rounded, at least 1; with a scale of 0 all are None, which is without limit."""
    if not scale:
        return dict.fromkeys(_table())
    return {tier: _scaled(rate, scale) for tier, rate in _table().items()}


def _table() -> Mapping[str, Rate]:
    text = resources.files("fondaco.limits").joinpath("tiers.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Rate])


def _scaled(rate: Rate, scale: float) -> Rate:
    return Rate(
        max(1, round(rate.requests * scale)),
        None if rate.tokens is None else max(1, round(rate.tokens * scale)),
    )

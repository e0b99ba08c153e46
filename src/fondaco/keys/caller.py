"""Who asks, as the rest of the program sees them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from fondaco.keys.tokens import Kind
from fondaco.models.policy import ModelPrivacy

__all__ = ["Caller", "ModelPrivacy", "Period", "SpendLimits"]

Period = Literal["EPOCH", "MONTH", "LIFETIME"]
"""When a key's limits begin anew: each UTC day, each UTC month, never."""


class SpendLimits(msgspec.Struct, frozen=True):
    """What a key may spend in each period, in nano-dollars; None is without limit."""

    period: Period
    usd: int | None = None
    diem: int | None = None
    vcu: int | None = None
    """Kept and shown; nothing is charged in it any more."""


class Caller(msgspec.Struct, frozen=True):
    """Who asks."""

    key_id: str
    account_id: str
    kind: Kind
    model_privacy: ModelPrivacy = "ALL"
    limits: SpendLimits | None = None
    """None for a key without any limit."""
    expires_at: datetime | None = None

"""Rate limits and the log of refusals, as the contract shows them (CONTRACT 10). Times are ISO 8601."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

RateLimitType = Literal["RPM", "TPM"]
RefusalType = Literal["RPM", "TPM", "FAILED_REQUESTS"]


class ApiTier(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    is_charged: bool


class BalancesRow(msgspec.Struct, frozen=True):
    """Exact numbers. Raw, for no float may hold them."""

    usd: msgspec.Raw = msgspec.field(name="USD")
    diem: msgspec.Raw = msgspec.field(name="DIEM")
    bundled_credits: msgspec.Raw | UnsetType = msgspec.field(name="BUNDLED_CREDITS", default=UNSET)


class RateLimit(msgspec.Struct, frozen=True):
    amount: int
    type: RateLimitType


class ModelRateLimits(msgspec.Struct, frozen=True, rename="camel"):
    """Without entries where nothing is limited."""

    api_model_id: str
    rate_limits: list[RateLimit]


class RateLimitsRow(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    access_permitted: bool
    api_tier: ApiTier
    balances: BalancesRow
    key_expiration: str | None
    next_epoch_begins: str
    rate_limits: list[ModelRateLimits]


class RateLimitsAnswer(msgspec.Struct, frozen=True):
    data: RateLimitsRow


class RefusalRow(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    api_key_id: str
    model_id: str
    rate_limit_tier: str
    rate_limit_type: RefusalType
    timestamp: str


class RefusalList(msgspec.Struct, frozen=True):
    data: list[RefusalRow]
    object: Literal["list"] = "list"

"""Bodies and answers of the routes for API keys (CONTRACT 10).

Bodies are strict, and so is `consumptionLimit` within them, where the contract says nothing: a limit that is misspelt
must not make a key without one. Requests and the answer that creates call it `consumptionLimit`, rows
`consumptionLimits`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from fondaco.content import Sealed
from fondaco.errors import InvalidRequest, Issue
from fondaco.keys import amounts, times
from fondaco.keys.amounts import Amount, four_decimals
from fondaco.keys.caller import ModelPrivacy, Period, SpendLimits
from fondaco.keys.service import DESCRIPTION_LENGTH, KeyChange, KeyRecord, NewKey
from fondaco.keys.spent import Spent
from fondaco.keys.tokens import Kind
from fondaco.money import NanoUsd

Description: TypeAlias = Annotated[str, Meta(max_length=DESCRIPTION_LENGTH)]
When: TypeAlias = Annotated[
    str,
    Meta(
        pattern=times.PATTERN,
        description="must be YYYY-MM-DD or YYYY-MM-DDTHH:mm:ss(.sss)Z, or empty for a key that does not expire",
    ),
]


class ConsumptionLimit(Sealed, kw_only=True, forbid_unknown_fields=True):
    """In dollars; null is no limit."""

    usd: Amount | UnsetType = UNSET
    diem: Amount | UnsetType = UNSET
    vcu: Amount | UnsetType = UNSET

    def read(self) -> dict[str, NanoUsd | None]:
        """Each limit that is named here. Raises InvalidRequest."""
        found: dict[str, NanoUsd | None] = {}
        issues: list[Issue] = []
        for name, given in (("usd", self.usd), ("diem", self.diem), ("vcu", self.vcu)):
            if given is not UNSET:
                amount = amounts.read(given, "consumptionLimit", name)
                if isinstance(amount, Issue):
                    issues.append(amount)
                else:
                    found[name] = amount
        if issues:
            raise InvalidRequest(issues)
        return found


class KeyTerms(Sealed, kw_only=True):
    """What both ways to a new key take."""

    expires_at: When | None = msgspec.field(name="expiresAt", default=None)
    consumption_limit: ConsumptionLimit | None = msgspec.field(name="consumptionLimit", default=None)
    limit_period: Period | None = msgspec.field(name="limitPeriod", default=None)
    model_privacy: ModelPrivacy | None = msgspec.field(name="modelPrivacy", default=None)

    def limits(self) -> SpendLimits:
        """Raises InvalidRequest."""
        given = {} if self.consumption_limit is None else self.consumption_limit.read()
        return SpendLimits(self.limit_period or "EPOCH", **given)


class CreateKey(KeyTerms, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api_keys. A null stands for a field that is not there."""

    api_key_type: Kind = msgspec.field(name="apiKeyType")
    description: Description


class UpdateKey(Sealed, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The body of PATCH /api_keys. What is not there stays; an expiry goes by null or empty text, a limit by null."""

    id: str | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    expires_at: When | UnsetType | None = UNSET
    consumption_limit: ConsumptionLimit | UnsetType = UNSET
    limit_period: Period | UnsetType = UNSET
    model_privacy: ModelPrivacy | UnsetType = UNSET

    def change(self) -> KeyChange:
        """Raises InvalidRequest."""
        given = {} if self.consumption_limit is UNSET else self.consumption_limit.read()
        return KeyChange(
            description=self.description,
            expires_at=UNSET if self.expires_at is UNSET else times.read(self.expires_at or ""),
            model_privacy=self.model_privacy,
            limit_usd=given.get("usd", UNSET),
            limit_diem=given.get("diem", UNSET),
            limit_vcu=given.get("vcu", UNSET),
            limit_period=self.limit_period,
        )


class DeleteKey(Sealed, forbid_unknown_fields=True):
    """The body of DELETE /api_keys where the id is not in the address."""

    id: str


class KeyLimits(msgspec.Struct, frozen=True):
    usd: Amount
    diem: Amount
    vcu: Amount


class WeekSpent(msgspec.Struct, frozen=True):
    """Decimal text with four decimals."""

    usd: str
    vcu: str
    diem: str


class KeyUse(msgspec.Struct, frozen=True, rename="camel"):
    trailing_seven_days: WeekSpent


class PeriodSpent(msgspec.Struct, frozen=True):
    """Decimal text with four decimals."""

    usd: str
    diem: str


class KeyRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key as it is told of after a change."""

    id: str
    api_key_type: Kind
    description: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    last6_chars: str
    consumption_limits: KeyLimits
    limit_period: Period
    model_privacy: ModelPrivacy


class UsedKeyRow(KeyRow, frozen=True, kw_only=True, rename="camel"):
    """A key with what it has spent."""

    usage: KeyUse
    current_period_usage: PeriodSpent | UnsetType = UNSET
    """Only where it has a limit in dollars or DIEM."""


class KeyList(msgspec.Struct, frozen=True):
    data: list[UsedKeyRow]
    object: Literal["list"] = "list"


class OneKey(msgspec.Struct, frozen=True):
    data: UsedKeyRow


class UpdatedKey(msgspec.Struct, frozen=True):
    data: KeyRow
    success: Literal[True] = True


class Deleted(msgspec.Struct, frozen=True):
    success: Literal[True] = True


class MadeKey(Sealed, kw_only=True, rename="camel"):
    """A key just made, with its text."""

    id: str
    api_key: str
    api_key_type: Kind
    description: str
    expires_at: str | None
    consumption_limit: KeyLimits
    limit_period: Period
    model_privacy: ModelPrivacy


class CreatedKey(Sealed):
    data: MadeKey
    success: Literal[True] = True


def row(key: KeyRecord) -> KeyRow:
    return KeyRow(
        id=key.id,
        api_key_type=key.kind,
        description=key.description,
        created_at=times.written(key.created_at),
        expires_at=None if key.expires_at is None else times.written(key.expires_at),
        last_used_at=None if key.last_used_at is None else times.written(key.last_used_at),
        last6_chars=key.last6,
        consumption_limits=_limits(key),
        limit_period=key.limit_period,
        model_privacy=key.model_privacy,
    )


def used_row(key: KeyRecord, week: Spent, period: Spent | None) -> UsedKeyRow:
    """`period` is None for a key without a limit in dollars or DIEM."""
    spent = WeekSpent(usd=four_decimals(week.usd), vcu="0.0000", diem=four_decimals(week.diem))
    return UsedKeyRow(
        **msgspec.structs.asdict(row(key)),
        usage=KeyUse(spent),
        current_period_usage=(
            UNSET if period is None else PeriodSpent(four_decimals(period.usd), four_decimals(period.diem))
        ),
    )


def created(key: NewKey) -> CreatedKey:
    return CreatedKey(
        MadeKey(
            id=key.id,
            api_key=key.token,
            api_key_type=key.kind,
            description=key.description,
            expires_at=None if key.expires_at is None else times.written(key.expires_at),
            consumption_limit=_limits(key),
            limit_period=key.limit_period,
            model_privacy=key.model_privacy,
        )
    )


def _limits(key: KeyRecord) -> KeyLimits:
    return KeyLimits(
        amounts.written(key.limit_usd), amounts.written(key.limit_diem), amounts.written(key.limit_vcu)
    )

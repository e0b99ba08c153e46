"""Reports as they are read: every number exact, since none of them ever was a float (CONTRACT 11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from fondaco import money
from fondaco.billing.line import Currency
from fondaco.billing.reports import units
from fondaco.billing.reports.store import Kind, Transfer
from fondaco.store.schema import EPOCH

BUNDLED_SHOWN = (
    "Entries paid by bundled credits are shown as USD here; /billing/usage-history tells the two apart."
)

_SKU_OF_KIND: Mapping[Kind, str] = {
    "usage": "usage",
    "credit": "account-credit",
    "debit": "account-debit",
    "grant": "diem-epoch-grant",
    "lapse": "diem-epoch-lapse",
}


class UsageQuery(msgspec.Struct, frozen=True, rename="camel"):
    currency: Literal["USD", "VCU", "DIEM"] | None = None
    start_date: str | None = None
    end_date: str | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 200
    page: Annotated[int, Meta(ge=1)] = 1
    sort_order: Literal["asc", "desc"] = "desc"


class HistoryQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    start_timestamp: str | None = None
    end_timestamp: str | None = None
    currency: Currency | None = None
    page_size: Annotated[int, Meta(ge=10, le=1000)] = 1000


class AnalyticsQuery(msgspec.Struct, frozen=True, rename="camel"):
    lookback: str | None = None
    start_date: str | None = None
    end_date: str | None = None


class InferenceDetails(msgspec.Struct, frozen=True, rename="camel"):
    request_id: str
    inference_execution_time: int | None
    """Milliseconds."""
    prompt_tokens: int | None
    completion_tokens: int | None


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """One row of the ledger. `amount` is what it does to the account: negative for what was spent."""

    timestamp: str
    sku: str
    price_per_unit_usd: Raw
    units: Raw
    amount: Raw
    currency: str
    notes: str
    inference_details: InferenceDetails | None


class Pagination(msgspec.Struct, frozen=True, rename="camel"):
    limit: int
    page: int
    total: int
    total_pages: int


class UsageAnswer(msgspec.Struct, frozen=True, rename="camel"):
    data: list[Entry]
    pagination: Pagination
    warning_message: str | UnsetType = UNSET


class HistoryAnswer(msgspec.Struct, frozen=True, rename="camel"):
    data: list[Entry]
    next_cursor: str | None


class BalanceAmounts(msgspec.Struct, frozen=True):
    diem: Raw | None
    usd: Raw | None


class BalanceAnswer(msgspec.Struct, frozen=True, rename="camel"):
    can_consume: bool
    consumption_currency: Currency | None
    balances: BalanceAmounts
    diem_epoch_allocation: Raw


class DateRow(msgspec.Struct, frozen=True):
    date: str
    USD: Raw
    DIEM: Raw


class PartRow(msgspec.Struct, frozen=True):
    type: str
    usd: Raw
    diem: Raw
    units: Raw


class ModelUsage(msgspec.Struct, frozen=True, rename="camel"):
    model_name: str
    unit_type: str
    model_type: str | None
    total_usd: Raw
    total_diem: Raw
    total_units: Raw
    breakdown: list[PartRow] | UnsetType = UNSET


class KeyRow(msgspec.Struct, frozen=True, rename="camel"):
    api_key_id: str | None
    description: str
    total_usd: Raw
    total_diem: Raw
    total_units: Raw


class AnalyticsAnswer(msgspec.Struct, frozen=True, rename="camel"):
    lookback: str
    by_date: list[DateRow]
    by_model: list[ModelUsage]
    by_model_daily: list[dict[str, Any]]
    top_models: list[str]
    by_key: list[KeyRow]
    by_key_daily: list[dict[str, Any]]
    top_key_names: list[str]


def number(billionths: int) -> Raw:
    """Nano-dollars, or billionths of anything, as an exact JSON number."""
    return Raw(money.to_json(billionths))


def entry(transfer: Transfer) -> Entry:
    """A transfer that is not usage counts dollars: so many units at a price of one."""
    price, count = money.NANO, transfer.amount
    if transfer.price is not None and transfer.units is not None and transfer.per:
        price, count = transfer.price, units.published(transfer.units, transfer.per)
    details = None
    if transfer.request_id is not None:
        details = InferenceDetails(
            transfer.request_id, transfer.execution_ms, transfer.prompt_tokens, transfer.completion_tokens
        )
    return Entry(
        timestamp=iso(transfer.at),
        sku=transfer.sku or _SKU_OF_KIND[transfer.kind],
        price_per_unit_usd=number(price),
        units=number(count),
        amount=number(transfer.change),
        currency=transfer.currency,
        notes=transfer.note,
        inference_details=details,
    )


def usage_answer(found: Iterable[Transfer], pagination: Pagination) -> UsageAnswer:
    """The older form of the ledger knows no bundled credits: its readers take USD, VCU and DIEM, nothing else."""
    made = [entry(transfer) for transfer in found]
    told = [
        msgspec.structs.replace(each, currency="USD") if each.currency == "BUNDLED_CREDITS" else each
        for each in made
    ]
    return UsageAnswer(told, pagination, UNSET if told == made else BUNDLED_SHOWN)


def iso(unix_ms: int) -> str:
    """`2026-06-15T19:05:10.504Z`."""
    moment = EPOCH + timedelta(milliseconds=unix_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"

"""The tables as they are today. Migrations lead here, and a test holds the two together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnixMs(TypeDecorator[datetime]):
    """A UTC time, kept as whole milliseconds since 1970; finer parts are dropped."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // timedelta(milliseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(milliseconds=value)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("created_at", UnixMs, nullable=False),
    Column("suspended", Boolean, nullable=False, server_default=false()),
    Column("diem_daily", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("diem_daily >= 0", name="diem_daily"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("description", String(64), nullable=False),
    Column("key_hash", LargeBinary(32), nullable=False, unique=True),
    Column("last6", String(6), nullable=False),
    Column("created_at", UnixMs, nullable=False),
    Column("expires_at", UnixMs),
    Column("revoked_at", UnixMs),
    Column("last_used_at", UnixMs),
    Column("model_privacy", String(16), nullable=False, server_default="ALL"),
    Column("limit_usd", BigInteger),
    Column("limit_diem", BigInteger),
    Column("limit_vcu", BigInteger),
    Column("limit_period", String(8), nullable=False, server_default="EPOCH"),
    CheckConstraint("kind IN ('INFERENCE', 'ADMIN')", name="kind"),
    CheckConstraint("model_privacy IN ('ALL', 'PRIVATE_TEXT', 'PRIVATE_ONLY')", name="model_privacy"),
    CheckConstraint("limit_period IN ('EPOCH', 'MONTH', 'LIFETIME')", name="limit_period"),
)

gateways = Table(
    "gateways",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("started_at", UnixMs, nullable=False),
    Column("heartbeat_at", UnixMs, nullable=False),
)
"""Processes that may hold leases. A row goes when its process ends, or when another finds its heartbeat too old."""

walls = Table(
    "walls",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("owner", String(36), nullable=False),
    Column("currency", String(16), nullable=False),
    Column("window_start", UnixMs, nullable=False),
    Column("allowed", BigInteger, nullable=False),
    Column("free", BigInteger, nullable=False),
    Column("leased", BigInteger, nullable=False, server_default="0"),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    Column("excess", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("kind IN ('funds', 'key')", name="kind"),
    CheckConstraint("free >= 0 AND leased >= 0 AND spent >= 0 AND excess >= 0", name="not_negative"),
    CheckConstraint("free + leased + spent = allowed + excess", name="balanced"),
    Index("ix_walls_owner", "owner"),
)
"""What may be spent: an account's funds in one currency, or a key's limit in one currency and period.

`allowed` is split into what is `free`, what gateways have `leased` and what is `spent`; each movement goes from one
of them to another. `excess` is what had been leased and spent already beyond a limit that was lowered.
"""

leases = Table(
    "leases",
    metadata,
    Column("wall_id", String(120), ForeignKey("walls.id"), primary_key=True),
    Column("gateway_id", String(36), ForeignKey("gateways.id"), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("recalled", Boolean, nullable=False, server_default=false()),
    CheckConstraint("amount >= 0", name="amount"),
    Index("ix_leases_gateway_id", "gateway_id"),
)
"""The part of a wall that one gateway may spend. A wall's `leased` is the sum of its leases."""

transfers = Table(
    "transfers",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", UnixMs, nullable=False),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("debit", String(8), nullable=False),
    Column("credit", String(8), nullable=False),
    Column("currency", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("note", String(200), nullable=False),
    Column("key_id", String(36)),
    Column("request_id", String(64)),
    Column("model_id", String(128)),
    Column("sku", String(160)),
    Column("price", BigInteger),
    Column("units", BigInteger),
    Column("per", BigInteger),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("execution_ms", BigInteger),
    CheckConstraint("kind = 'usage' OR kind IN ('credit', 'debit', 'grant', 'lapse')", name="kind"),
    CheckConstraint("debit <> credit", name="two_books"),
    CheckConstraint("amount >= 0", name="amount"),
    Index("ix_transfers_account_id_at", "account_id", "at", "id", "currency"),
    sqlite_autoincrement=True,
)
"""The ledger: each row takes `amount` nano-dollars from one book and puts it into another, and is never changed.

Books of an account: `funds` (prepaid money), `tab` (what metered use has cost); and of the house: `sales`, `outside`.
A usage row is one line of a bill: `units` at `price` nano-dollars for each `per` of them. It is nearly every row, so
`kind` is looked at for it first: SQLite builds a list to look something up in for each row anew.
"""

usage_days = Table(
    "usage_days",
    metadata,
    Column("account_id", String(36), ForeignKey("accounts.id"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("key_id", String(36), primary_key=True),
    Column("model_id", String(128), primary_key=True),
    Column("sku", String(160), primary_key=True),
    Column("currency", String(16), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("per", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
)
"""Usage summed by UTC day (days since 1970), written with the transfers it sums."""

rate_refusals = Table(
    "rate_refusals",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(36), nullable=False),
    Column("model_id", String(128), nullable=False),
    Column("tier", String(16), nullable=False),
    Column("type", String(32), nullable=False),
    Column("at", UnixMs, nullable=False),
    Index("ix_rate_refusals_account_id", "account_id"),
    sqlite_autoincrement=True,
)
"""Requests that a rate limit refused: the last 50 of each account."""

rate_windows = Table(
    "rate_windows",
    metadata,
    Column("account_id", String(36), primary_key=True),
    Column("model_id", String(128), primary_key=True),
    Column("opened_at", UnixMs, nullable=False),
    Column("requests_left", BigInteger, nullable=False),
    Column("tokens_left", BigInteger, nullable=False),
)
"""Open rate windows, kept here only while several gateways share a database. Not money: may fall below zero."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("id", LargeBinary(32), primary_key=True),
    Column("body", LargeBinary(32), nullable=False),
    Column("state", String(8), nullable=False),
    Column("gateway_id", String(36), nullable=False),
    Column("request_id", String(64), nullable=False),
    Column("amount", BigInteger, nullable=False, server_default="0"),
    Column("currency", String(16)),
    Column("expires_at", UnixMs, nullable=False, index=True),
    CheckConstraint("state IN ('running', 'done')", name="state"),
)
"""Requests that came with an `Idempotency-Key`. `id` and `body` are keyed hashes; nothing of a request is kept."""

characters = Table(
    "characters",
    metadata,
    Column("slug", String(100), primary_key=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("created_at", UnixMs, nullable=False),
    Column("updated_at", UnixMs, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("adult", Boolean, nullable=False),
    Column("featured", Boolean, nullable=False),
    Column("web_enabled", Boolean, nullable=False),
    Column("model_id", String(128)),
    Column("card", Text),
    Column("picture", LargeBinary),
)
"""Characters of the operator's, `card` being a Character Card in JSON and `picture` a PNG; and, where `card` is null,
what the operator says of a character that comes with the program.
"""

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
    LargeBinary,
    MetaData,
    String,
    Table,
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
    CheckConstraint("kind IN ('INFERENCE', 'ADMIN')", name="kind"),
    CheckConstraint("model_privacy IN ('ALL', 'PRIVATE_TEXT', 'PRIVATE_ONLY')", name="model_privacy"),
)

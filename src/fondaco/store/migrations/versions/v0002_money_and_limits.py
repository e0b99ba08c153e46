"""Money, limits and what is remembered of requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    # Written out, since both databases take it so: Alembic would build the table anew, which foreign keys forbid.
    op.execute(
        "ALTER TABLE accounts ADD COLUMN diem_daily BIGINT DEFAULT '0' NOT NULL "
        "CONSTRAINT ck_accounts_diem_daily CHECK (diem_daily >= 0)"
    )
    for name in ("limit_usd", "limit_diem", "limit_vcu"):
        op.execute(f"ALTER TABLE api_keys ADD COLUMN {name} BIGINT")
    op.execute(
        "ALTER TABLE api_keys ADD COLUMN limit_period VARCHAR(8) DEFAULT 'EPOCH' NOT NULL "
        "CONSTRAINT ck_api_keys_limit_period CHECK (limit_period IN ('EPOCH', 'MONTH', 'LIFETIME'))"
    )
    op.create_table(
        "gateways",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateways"),
    )
    op.create_table(
        "walls",
        sa.Column("id", sa.String(120), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("window_start", sa.BigInteger, nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("free", sa.BigInteger, nullable=False),
        sa.Column("leased", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("spent", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("excess", sa.BigInteger, server_default="0", nullable=False),
        sa.CheckConstraint("kind IN ('funds', 'key')", name="ck_walls_kind"),
        sa.CheckConstraint("free + leased + spent = allowed + excess", name="ck_walls_balanced"),
        sa.CheckConstraint(
            "free >= 0 AND leased >= 0 AND spent >= 0 AND excess >= 0", name="ck_walls_not_negative"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_walls"),
    )
    op.create_index("ix_walls_owner", "walls", ["owner"], unique=False)
    op.create_table(
        "leases",
        sa.Column("wall_id", sa.String(120), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("recalled", sa.Boolean, server_default=sa.false(), nullable=False),
        sa.CheckConstraint("amount >= 0", name="ck_leases_amount"),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name="fk_leases_gateway_id_gateways"),
        sa.ForeignKeyConstraint(["wall_id"], ["walls.id"], name="fk_leases_wall_id_walls"),
        sa.PrimaryKeyConstraint("wall_id", "gateway_id", name="pk_leases"),
    )
    op.create_index("ix_leases_gateway_id", "leases", ["gateway_id"], unique=False)
    op.create_table(
        "transfers",
        sa.Column("id", _id, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("debit", sa.String(8), nullable=False),
        sa.Column("credit", sa.String(8), nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("note", sa.String(200), nullable=False),
        sa.Column("key_id", sa.String(36)),
        sa.Column("request_id", sa.String(64)),
        sa.Column("model_id", sa.String(128)),
        sa.Column("sku", sa.String(160)),
        sa.Column("price", sa.BigInteger),
        sa.Column("units", sa.BigInteger),
        sa.Column("per", sa.BigInteger),
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("execution_ms", sa.BigInteger),
        sa.CheckConstraint(
            "kind = 'usage' OR kind IN ('credit', 'debit', 'grant', 'lapse')", name="ck_transfers_kind"
        ),
        sa.CheckConstraint("amount >= 0", name="ck_transfers_amount"),
        sa.CheckConstraint("debit <> credit", name="ck_transfers_two_books"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_transfers_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_transfers"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_transfers_account_id_at", "transfers", ["account_id", "at", "id", "currency"], unique=False
    )
    op.create_table(
        "usage_days",
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("sku", sa.String(160), nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("per", sa.BigInteger, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_usage_days_account_id_accounts"),
        sa.PrimaryKeyConstraint(
            "account_id", "day", "key_id", "model_id", "sku", "currency", name="pk_usage_days"
        ),
    )
    op.create_table(
        "rate_refusals",
        sa.Column("id", _id, autoincrement=True, nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("tier", sa.String(16), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_rate_refusals_account_id_accounts"),
        sa.PrimaryKeyConstraint("id", name="pk_rate_refusals"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_rate_refusals_account_id", "rate_refusals", ["account_id"], unique=False)
    op.create_table(
        "rate_windows",
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("requests_left", sa.BigInteger, nullable=False),
        sa.Column("tokens_left", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "model_id", name="pk_rate_windows"),
    )
    op.create_table(
        "idempotency",
        sa.Column("id", sa.LargeBinary(32), nullable=False),
        sa.Column("body", sa.LargeBinary(32), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("gateway_id", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("currency", sa.String(16)),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('running', 'done')", name="ck_idempotency_state"),
        sa.PrimaryKeyConstraint("id", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"], unique=False)

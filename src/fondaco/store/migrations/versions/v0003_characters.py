"""The operator's characters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "characters",
        sa.Column("slug", sa.String(100), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("adult", sa.Boolean, nullable=False),
        sa.Column("featured", sa.Boolean, nullable=False),
        sa.Column("web_enabled", sa.Boolean, nullable=False),
        sa.Column("model_id", sa.String(128)),
        sa.Column("card", sa.Text),
        sa.Column("picture", sa.LargeBinary),
        sa.PrimaryKeyConstraint("slug", name="pk_characters"),
        sa.UniqueConstraint("id", name="uq_characters_id"),
    )

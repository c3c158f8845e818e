"""API keys and their limits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_api_keys"
down_revision = "0005_costs_and_sums"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("previous_digest", sa.LargeBinary(), nullable=False),
        sa.Column("previous_until", INSTANT),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("allowed_models", sa.JSON(), nullable=False),
        sa.Column("enforced_model", sa.String(), nullable=False),
        sa.Column("enforced_reasoning_effort", sa.String(), nullable=False),
        sa.Column("enforced_service_tier", sa.String(), nullable=False),
        sa.Column("allowed_reasoning_efforts", sa.JSON(), nullable=False),
        sa.Column("account_scope", sa.JSON()),
        sa.Column("streams_max", sa.Integer(), nullable=False),
        sa.Column("usage_sections", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("api_key_id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_table(
        "api_key_limits",
        sa.Column("limit_id", sa.String(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("window", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("amount_max", sa.BigInteger(), nullable=False),
        sa.Column("begins_at", INSTANT, nullable=False),
        sa.Column("reset_at", INSTANT),
        sa.PrimaryKeyConstraint("limit_id", name="pk_api_key_limits"),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.api_key_id"], name="fk_api_key_limits_api_key_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "api_key_id", "unit", "window", "model", name="uq_api_key_limits_api_key_id_unit_window_model"
        ),
    )
    op.create_index("ix_api_key_limits_api_key_id", "api_key_limits", ["api_key_id"])

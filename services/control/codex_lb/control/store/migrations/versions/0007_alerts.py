"""Alerts: where they go, what was raised, and how far each is on its way."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_alerts"
down_revision = "0006_api_keys"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "alert_targets",
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("wants", sa.JSON(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("target_id", name="pk_alert_targets"),
        sa.UniqueConstraint("name", name="uq_alert_targets_name"),
    )
    op.create_table(
        "alerts",
        sa.Column("alert_id", sa.String(), nullable=False),
        sa.Column("open_key", sa.String()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("recovers_at", INSTANT),
        sa.Column("raised_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alerts"),
        sa.UniqueConstraint("open_key", name="uq_alerts_open_key"),
    )
    op.create_index("ix_alerts_raised_at", "alerts", ["raised_at"])
    op.create_table(
        "alert_deliveries",
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("alert_id", sa.String(), nullable=False),
        sa.Column("target_id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", INSTANT),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_alert_deliveries"),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.alert_id"], name="fk_alert_deliveries_alert_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["target_id"], ["alert_targets.target_id"], name="fk_alert_deliveries_target_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_alert_deliveries_alert_id", "alert_deliveries", ["alert_id"])
    op.create_index("ix_alert_deliveries_stage", "alert_deliveries", ["stage"])

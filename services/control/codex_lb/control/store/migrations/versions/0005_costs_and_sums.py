"""What turns cost, and sums of turns that are written with their lines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_costs_and_sums"
down_revision = "0004_settings"

SUMS = (
    "turns",
    "failed",
    "cancelled",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_micro_usd",
    "unpriced_turns",
    "first_output_turns",
    "first_output_ms",
    "total_ms",
)


def upgrade() -> None:
    for table in ("turns", "attempts"):
        op.add_column(table, sa.Column("cost_micro_usd", sa.BigInteger()))
        op.add_column(table, sa.Column("cost_source", sa.String(), nullable=False, server_default=""))
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"])
    for table, bucket in (("spent_hours", "hour"), ("spent_days", "day")):
        op.create_table(
            table,
            sa.Column(bucket, sa.Integer(), nullable=False, autoincrement=False),
            *(sa.Column(name, sa.String(), nullable=False) for name in ("account_id", "api_key_id", "model")),
            *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
            sa.PrimaryKeyConstraint(bucket, "account_id", "api_key_id", "model", name=f"pk_{table}"),
            sqlite_with_rowid=False,
        )
        for name in ("account_id", "api_key_id"):
            op.create_index(f"ix_{table}_{name}_{bucket}", table, [name, bucket])
    op.create_table(
        "spent_totals",
        sa.Column("hour", sa.Integer(), nullable=False, autoincrement=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint("hour", name="pk_spent_totals"),
    )

"""Sums by account, key and model alone: what most questions are about."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_spent_names"
down_revision = "0007_alerts"

FACETS = ("account_id", "api_key_id", "model")
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
    names = op.create_table(
        "spent_names",
        sa.Column("facet", sa.String(), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("name", sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in SUMS),
        sa.PrimaryKeyConstraint("facet", "hour", "name", name="pk_spent_names"),
        sqlite_with_rowid=False,
    )
    hours = sa.table("spent_hours", *(sa.column(name) for name in ("hour", *FACETS, *SUMS)))
    for facet in FACETS:
        name = hours.c[facet]
        added = [sa.func.sum(hours.c[one]) for one in SUMS]
        known = sa.select(sa.literal(facet), hours.c.hour, name, *added).group_by(hours.c.hour, name)
        op.execute(sa.insert(names).from_select(["facet", "hour", "name", *SUMS], known))

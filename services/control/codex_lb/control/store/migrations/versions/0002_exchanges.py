"""The journal of token exchanges, when a login was issued, and how eagerly an account is used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_exchanges"
down_revision = "0001_first_tables"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "accounts", sa.Column("routing_policy", sa.String(), nullable=False, server_default=sa.text("'normal'"))
    )
    op.add_column("accounts", sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("accounts", sa.Column("stop_percent", sa.Double()))
    op.add_column("credentials", sa.Column("refreshed_at", INSTANT))
    op.create_table(
        "exchanges",
        sa.Column("ticket_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("worker_id", sa.String(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("ended_at", INSTANT),
        sa.Column("outcome", sa.String()),
        sa.PrimaryKeyConstraint("ticket_id", name="pk_exchanges"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name="fk_exchanges_account_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_exchanges_account_id_generation", "exchanges", ["account_id", "generation"])

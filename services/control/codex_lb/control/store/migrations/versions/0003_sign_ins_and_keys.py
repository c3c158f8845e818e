"""Sign-ins in the database; what became of every encryption key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_sign_ins_and_keys"
down_revision = "0002_exchanges"

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    for name in ("added_at", "retiring_at", "retired_at"):
        op.add_column("key_fingerprints", sa.Column(name, INSTANT))
    op.create_table(
        "oauth_flows",
        sa.Column("flow_id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("target_account_id", sa.String(), nullable=False),
        sa.Column("state_digest", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("busy_until", INSTANT),
        sa.Column("poll_at", INSTANT),
        sa.Column("poll_period_s", sa.Double(), nullable=False),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("is_account_new", sa.Boolean(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", name="pk_oauth_flows"),
    )
    op.create_index("ix_oauth_flows_state_digest", "oauth_flows", ["state_digest"])
    op.create_index("ix_oauth_flows_expires_at", "oauth_flows", ["expires_at"])

"""Why turns were refused a lease; leases are found by when they were granted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_refusals"
down_revision = "0008_spent_names"


def upgrade() -> None:
    op.add_column("turns", sa.Column("decision", sa.JSON()))
    op.create_index("ix_attempts_granted_at", "attempts", ["granted_at"])

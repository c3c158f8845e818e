"""What a key has spent is summed up by the instants of its leases."""

from __future__ import annotations

from alembic import op

revision = "0010_spending_of_keys"
down_revision = "0009_refusals"


def upgrade() -> None:
    op.create_index("ix_attempts_api_key_id_granted_at", "attempts", ["api_key_id", "granted_at"])

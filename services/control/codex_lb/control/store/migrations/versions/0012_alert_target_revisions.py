"""Alert targets are changed, and who changes one names what they saw."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_alert_target_revisions"
down_revision = "0011_web_access"


def upgrade() -> None:
    op.add_column("alert_targets", sa.Column("revision", sa.BigInteger(), nullable=False, server_default="1"))

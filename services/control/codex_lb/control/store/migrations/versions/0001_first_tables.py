"""The first tables: accounts and their evidence, what was spent, catalogs, terms, key fingerprints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_first_tables"
down_revision = None

INSTANT = sa.DateTime(timezone=True)
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _accounts()
    _turns()
    _catalogs()
    op.create_table(
        "terms",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_terms"),
    )
    op.create_table(
        "key_fingerprints",
        sa.Column("key_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_fingerprints"),
    )


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("plan", sa.String(), nullable=False),
        sa.Column("chatgpt_account_id", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("updated_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_accounts"),
        sa.UniqueConstraint("issuer", "user_id", "workspace_id", name="uq_accounts_issuer_user_id_workspace_id"),
    )
    op.create_table(
        "credentials",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("access_expires_at", INSTANT),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_credentials"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name="fk_credentials_account_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "evidence",
        sa.Column("evidence_id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("observed_at", INSTANT, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id", name="pk_evidence"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name="fk_evidence_account_id", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_evidence_account_id_kind_key_generation_observed_at",
        "evidence",
        ["account_id", "kind", "key", "generation", "observed_at"],
    )


def _turns() -> None:
    op.create_table(
        "turns",
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("started_at", INSTANT, nullable=False),
        *_ending(),
        sa.Column("lease_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("work", sa.String(), nullable=False),
        sa.Column("route", sa.String(), nullable=False),
        sa.Column("transport", sa.String(), nullable=False),
        sa.Column("requested_model", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("reasoning_effort", sa.String(), nullable=False),
        sa.Column("service_tier", sa.String(), nullable=False),
        sa.Column("actual_service_tier", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("user_agent", sa.String(), nullable=False),
        sa.Column("client_ip", sa.String(), nullable=False),
        sa.Column("response_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("request_bytes", sa.BigInteger(), nullable=False),
        sa.Column("response_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("turn_id", name="pk_turns"),
    )
    op.create_index("ix_turns_started_at", "turns", ["started_at"])
    op.create_index("ix_turns_account_id_started_at", "turns", ["account_id", "started_at"])
    op.create_index("ix_turns_api_key_id_started_at", "turns", ["api_key_id", "started_at"])
    op.create_table(
        "attempts",
        sa.Column("lease_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("turn_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("work", sa.String(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("reservation", sa.JSON()),
        sa.Column("granted_at", INSTANT, nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        *_ending(),
        sa.Column("evidence", sa.JSON()),
        sa.Column("anchors", sa.JSON()),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("service_tier", sa.String(), nullable=False),
        sa.Column("upstream_transport", sa.String(), nullable=False),
        sa.Column("ended_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("lease_id", name="pk_attempts"),
    )
    op.create_index("ix_attempts_turn_id", "attempts", ["turn_id"])
    op.create_index("ix_attempts_account_id_ended_at", "attempts", ["account_id", "ended_at"])


def _ending() -> list[sa.Column[object]]:
    return [
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("fault_code", sa.String()),
        sa.Column("fault_blame", sa.String()),
        sa.Column("fault_status", sa.Integer()),
        sa.Column("fault_message", sa.String()),
        sa.Column("input_tokens", sa.BigInteger()),
        sa.Column("cached_input_tokens", sa.BigInteger()),
        sa.Column("output_tokens", sa.BigInteger()),
        sa.Column("reasoning_tokens", sa.BigInteger()),
        sa.Column("total_tokens", sa.BigInteger()),
        sa.Column("leased_s", sa.Double()),
        sa.Column("dispatched_s", sa.Double()),
        sa.Column("first_byte_s", sa.Double()),
        sa.Column("first_output_s", sa.Double()),
        sa.Column("total_s", sa.Double()),
    ]


def _catalogs() -> None:
    op.create_table(
        "catalogs",
        sa.Column("plan", sa.String(), nullable=False),
        sa.Column("seen_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("plan", name="pk_catalogs"),
    )
    op.create_table(
        "catalog_models",
        sa.Column("plan", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("entry_json", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("plan", "position", name="pk_catalog_models"),
        sa.ForeignKeyConstraint(["plan"], ["catalogs.plan"], name="fk_catalog_models_plan", ondelete="CASCADE"),
    )

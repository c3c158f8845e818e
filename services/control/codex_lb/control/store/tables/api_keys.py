"""What clients present, and what they may use with it. Of a key only its SHA-256 is kept."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, UniqueConstraint

from codex_lb.control.store.tables.schema import COUNT, STRUCTURE, Instant, Words, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("api_key_id", Words, primary_key=True),
    Column("revision", COUNT, nullable=False),
    Column("name", Words, nullable=False),
    Column("prefix", Words, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("previous_digest", LargeBinary, nullable=False),  # empty for none
    Column("previous_until", Instant),
    Column("is_enabled", Boolean, nullable=False),
    Column("expires_at", Instant),
    Column("allowed_models", STRUCTURE, nullable=False),
    Column("enforced_model", Words, nullable=False),
    Column("enforced_reasoning_effort", Words, nullable=False),
    Column("enforced_service_tier", Words, nullable=False),
    Column("allowed_reasoning_efforts", STRUCTURE, nullable=False),
    Column("account_scope", STRUCTURE),  # null for the whole pool
    Column("streams_max", Integer, nullable=False),
    Column("usage_sections", STRUCTURE, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    UniqueConstraint("digest"),
)

api_key_limits = Table(
    "api_key_limits",
    metadata,
    Column("limit_id", Words, primary_key=True),
    Column("api_key_id", Words, ForeignKey("api_keys.api_key_id", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),  # in the order in which they were given
    Column("unit", Words, nullable=False),
    Column("window", Words, nullable=False),
    Column("model", Words, nullable=False),
    Column("amount_max", COUNT, nullable=False),
    Column("begins_at", Instant, nullable=False),
    Column("reset_at", Instant),
    UniqueConstraint("api_key_id", "unit", "window", "model"),
    Index(None, "api_key_id"),
)

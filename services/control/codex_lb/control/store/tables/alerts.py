"""Alerts: where they go, what was raised, and how far each is on its way to each target."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, Table

from codex_lb.control.store.tables.schema import COUNT, STRUCTURE, Instant, Words, metadata

alert_targets = Table(
    "alert_targets",
    metadata,
    Column("target_id", Words, primary_key=True),
    Column("name", Words, nullable=False, unique=True),
    Column("kind", Words, nullable=False),
    Column("host", Words, nullable=False),
    Column("wants", STRUCTURE, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("revision", COUNT, nullable=False),
    Column("key_id", Words, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),  # its address: whoever has it can write there
)

alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Words, primary_key=True),
    Column("open_key", Words, unique=True),  # while it lasts, so that nobody raises it twice; null once it is over
    Column("kind", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("title", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("recovers_at", Instant),
    Column("raised_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Index(None, "raised_at"),
)

alert_deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("delivery_id", Words, primary_key=True),
    Column("alert_id", Words, ForeignKey("alerts.alert_id", ondelete="CASCADE"), nullable=False),
    Column("target_id", Words, ForeignKey("alert_targets.target_id", ondelete="CASCADE"), nullable=False),
    Column("stage", Words, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_try_at", Instant),
    Column("status", Integer, nullable=False),
    Column("problem", Words, nullable=False),
    Column("ended_at", Instant),
    Index(None, "alert_id"),
    Index(None, "stage"),
)

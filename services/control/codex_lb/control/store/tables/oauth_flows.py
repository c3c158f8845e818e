"""Sign-ins, one row each, so that any replica can finish what another started. What is secret of one is sealed."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Double, Index, LargeBinary, Table

from codex_lb.control.store.tables.schema import COUNT, Instant, Words, metadata

oauth_flows = Table(
    "oauth_flows",
    metadata,
    Column("flow_id", Words, primary_key=True),
    Column("revision", COUNT, nullable=False),  # rises with every change; who changes a row names the one they read
    Column("method", Words, nullable=False),
    Column("stage", Words, nullable=False),
    Column("target_account_id", Words, nullable=False),  # empty: whoever signs in
    Column("state_digest", Words, nullable=False),  # of the browser's `state`; empty for devices
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("busy_until", Instant),  # a replica exchanges its code until then, unless it died
    Column("poll_at", Instant),  # devices only
    Column("poll_period_s", Double, nullable=False),
    Column("problem", Words, nullable=False),
    Column("account_id", Words, nullable=False),
    Column("is_account_new", Boolean, nullable=False),
    Column("key_id", Words, nullable=False),  # empty, as the ciphertext is, once the sign-in has ended
    Column("ciphertext", LargeBinary, nullable=False),
    Index(None, "state_digest"),
    Index(None, "expires_at"),
)

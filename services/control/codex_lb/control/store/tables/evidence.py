"""The log of what was observed about accounts. Rows are added and never changed."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, text

from codex_lb.control.store.tables.schema import COUNT, ROW_ID, STRUCTURE, Instant, Words, metadata

evidence = Table(
    "evidence",
    metadata,
    Column("evidence_id", ROW_ID, primary_key=True, autoincrement=True),
    Column("account_id", Words, ForeignKey("accounts.account_id", ondelete="CASCADE"), nullable=False),
    Column("kind", Words, nullable=False),
    Column("key", Words, nullable=False),  # window or kind of refusal: what supersedes only its like
    Column("generation", COUNT, nullable=False, server_default=text("0")),  # outranks the instant; 0 where none matters
    Column("observed_at", Instant, nullable=False),
    Column("body", STRUCTURE, nullable=False),
    Index(None, "account_id", "kind", "key", "generation", "observed_at"),
)

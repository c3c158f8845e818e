"""The journal of token exchanges: a row before a refresh token leaves control, closed together with what came of it.

A row that was never closed is an exchange of which nobody knows whether it spent the refresh token.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table

from codex_lb.control.store.tables.schema import COUNT, Instant, Words, metadata

exchanges = Table(
    "exchanges",
    metadata,
    Column("ticket_id", Words, primary_key=True),
    Column("epoch", COUNT, nullable=False),
    Column("account_id", Words, ForeignKey("accounts.account_id", ondelete="CASCADE"), nullable=False),
    Column("generation", COUNT, nullable=False),  # of the login whose refresh token is traded
    Column("fingerprint", Words, nullable=False),  # of that refresh token, to find it in the issuer's words
    Column("worker_id", Words, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("outcome", Words),
    Index(None, "account_id", "generation"),
)

"""How people come in with a browser: links that work once, and those who came in. Of each secret only the SHA-256 is kept,
but for the one of the first visit, which is shown again until it is used, and sealed.
"""

from __future__ import annotations

from sqlalchemy import Column, LargeBinary, Table, UniqueConstraint

from codex_lb.control.store.tables.schema import Instant, Words, metadata

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("link_id", Words, primary_key=True),
    Column("way", Words, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),  # null: when it is used
    Column("spent_at", Instant),
    Column("key_id", Words, nullable=False),  # empty, as the ciphertext is, for what is never shown again
    Column("ciphertext", LargeBinary, nullable=False),
)

web_sessions = Table(
    "web_sessions",
    metadata,
    Column("session_id", Words, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("way", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("address", Words, nullable=False),
    Column("user_agent", Words, nullable=False),
    UniqueConstraint("digest"),
)

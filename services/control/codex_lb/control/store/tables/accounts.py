"""The pool: one row per account, and apart from it the credential, which changes more often and is read by fewer."""

from __future__ import annotations

from sqlalchemy import Column, Double, ForeignKey, Integer, LargeBinary, Table, UniqueConstraint, text

from codex_lb.control.store.tables.schema import COUNT, Instant, Words, metadata

accounts = Table(
    "accounts",
    metadata,
    Column("account_id", Words, primary_key=True),
    Column("issuer", Words, nullable=False),
    Column("user_id", Words, nullable=False),
    Column("workspace_id", Words, nullable=False),
    Column("email", Words, nullable=False),
    Column("plan", Words, nullable=False),
    Column("chatgpt_account_id", Words, nullable=False),
    Column("alias", Words, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("routing_policy", Words, nullable=False, server_default=text("'normal'")),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("stop_percent", Double),  # null: its windows may be used up
    UniqueConstraint("issuer", "user_id", "workspace_id"),
)

# The generation stands here and nowhere else: no change of an account's row can set it back.
credentials = Table(
    "credentials",
    metadata,
    Column("account_id", Words, ForeignKey("accounts.account_id", ondelete="CASCADE"), primary_key=True),
    Column("generation", COUNT, nullable=False),
    Column("access_expires_at", Instant),
    Column("key_id", Words, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("refreshed_at", Instant),  # when the tokens were issued; null for logins from before this was noted
)

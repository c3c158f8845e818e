"""What operators changed while the product ran; what is not here comes from the environment."""

from __future__ import annotations

from sqlalchemy import Column, Table

from codex_lb.control.store.tables.schema import STRUCTURE, Words, metadata

settings = Table(
    "settings",
    metadata,
    Column("name", Words, primary_key=True),
    Column("value", STRUCTURE, nullable=False),
)

"""Counters that rise across restarts; epochs are fenced by them."""

from __future__ import annotations

from sqlalchemy import Column, Table

from codex_lb.control.store.tables.schema import COUNT, Words, metadata

terms = Table(
    "terms",
    metadata,
    Column("name", Words, primary_key=True),
    Column("value", COUNT, nullable=False),
)

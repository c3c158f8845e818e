"""The last model list of every plan, entry by entry in upstream's order."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, Table

from codex_lb.control.store.tables.schema import Instant, Words, metadata

catalogs = Table(
    "catalogs",
    metadata,
    Column("plan", Words, primary_key=True),
    Column("seen_at", Instant, nullable=False),
)

catalog_models = Table(
    "catalog_models",
    metadata,
    Column("plan", Words, ForeignKey("catalogs.plan", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("slug", Words, nullable=False),
    Column("entry_json", LargeBinary, nullable=False),  # bytes: upstream's entry is passed on as it came
)

"""The ids of all encryption keys this database was ever used with; a start with none of them is refused."""

from __future__ import annotations

from sqlalchemy import Column, Table

from codex_lb.control.store.tables.schema import Instant, Words, metadata

key_fingerprints = Table(
    "key_fingerprints",
    metadata,
    Column("key_id", Words, primary_key=True),
    Column("added_at", Instant),  # null for keys from before this was noted
    Column("retiring_at", Instant),  # since when what it sealed is being sealed anew
    Column("retired_at", Instant),  # it seals nothing any more: to have this key alone is to have none
)

"""The ids of all encryption keys this database was ever used with; a start with none of them is refused."""

from __future__ import annotations

from sqlalchemy import Column, Table

from codex_lb.control.store.tables.schema import Words, metadata

key_fingerprints = Table("key_fingerprints", metadata, Column("key_id", Words, primary_key=True))

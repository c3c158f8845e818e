"""INSERT … ON CONFLICT, which both databases have and SQLAlchemy spells once for each."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = postgresql.Insert | sqlite.Insert


def insert_into(table: Table, dialect: str) -> Insert:
    """An insert that can say what happens on a conflict."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)

"""Sums of turns, written with their lines: by account, key and model per hour and per day; per hour by each of them alone;
and of everything per hour.

The cells are there for every question, the others so that the usual ones are quickly added up. Hours and days count from
1970, in UTC.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table

from codex_lb.control.domain.rollup import SUMS
from codex_lb.control.store.tables.schema import COUNT, Words, metadata


def _sums() -> list[Column[int]]:
    return [Column(name, COUNT, nullable=False) for name in SUMS]


def _cells(name: str, bucket: str) -> Table:
    return Table(
        name,
        metadata,
        Column(bucket, Integer, primary_key=True, autoincrement=False),
        Column("account_id", Words, primary_key=True),
        Column("api_key_id", Words, primary_key=True),
        Column("model", Words, primary_key=True),
        *_sums(),
        Index(None, "account_id", bucket),
        Index(None, "api_key_id", bucket),
        sqlite_with_rowid=False,  # kept in the order of their key, a month lies side by side
    )


spent_hours = _cells("spent_hours", "hour")
spent_days = _cells("spent_days", "day")
spent_names = Table(
    "spent_names",
    metadata,
    Column("facet", Words, primary_key=True),  # the column of the cells that `name` is from
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("name", Words, primary_key=True),
    *_sums(),
    sqlite_with_rowid=False,
)
spent_totals = Table(
    "spent_totals",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    *_sums(),
)

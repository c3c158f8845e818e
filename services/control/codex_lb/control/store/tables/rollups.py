"""Sums of turns, written with their lines: by account, key and model per hour and per day; of everything per hour.

The days are there so that a month is quickly added up, the totals so that the pool's hours are. Hours and days count from
1970, in UTC.
"""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, Table

from codex_lb.control.domain.rollup import SUMS
from codex_lb.control.store.tables.schema import COUNT, Words, metadata


def _cells(name: str, bucket: str) -> Table:
    return Table(
        name,
        metadata,
        Column(bucket, Integer, primary_key=True, autoincrement=False),
        Column("account_id", Words, primary_key=True),
        Column("api_key_id", Words, primary_key=True),
        Column("model", Words, primary_key=True),
        *(Column(sum_, COUNT, nullable=False) for sum_ in SUMS),
        Index(None, "account_id", bucket),
        Index(None, "api_key_id", bucket),
        sqlite_with_rowid=False,  # kept in the order of their key, a month lies side by side
    )


spent_hours = _cells("spent_hours", "hour")
spent_days = _cells("spent_days", "day")
spent_totals = Table(
    "spent_totals",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    *(Column(sum_, COUNT, nullable=False) for sum_ in SUMS),
)

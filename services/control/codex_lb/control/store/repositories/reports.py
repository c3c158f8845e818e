"""Reads the sums of turns. What is asked of a long stretch is added up from days, so that it stays a matter of moments."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, RowMapping, Select, Table, func, select, union_all

from codex_lb.control.domain.report import Facet, Only, split
from codex_lb.control.domain.rollup import SUMS, Sums
from codex_lb.control.store.tables import spent_days, spent_hours, spent_totals
from codex_lb.control.store.transaction import Transaction


class SqlReports:
    """The reading side of `spent_hours`, `spent_days` and `spent_totals`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def per_hour(self, hours: range, only: Only) -> Mapping[int, Sums]:
        if only.is_everything:
            rows = await self._transaction.run(select(spent_totals).where(_within(spent_totals.c.hour, hours)))
        else:
            meant = _meant(spent_hours, "hour", hours, only)
            wanted = select(spent_hours.c.hour, *_added(spent_hours)).where(*meant).group_by(spent_hours.c.hour)
            rows = await self._transaction.run(wanted)
        return {row["hour"]: _sums(row) for row in rows.mappings()}

    async def per_day(self, days: range, only: Only, by: Facet) -> Mapping[tuple[str, int], Sums]:
        name, day = spent_days.c[by.value], spent_days.c.day
        added = select(name, day, *_added(spent_days)).where(*_meant(spent_days, "day", days, only))
        rows = await self._transaction.run(added.group_by(name, day))
        return {(row[by.value], row["day"]): _sums(row) for row in rows.mappings()}

    async def per_name(self, hours: range, only: Only, by: Facet) -> Mapping[str, Sums]:
        parts = split(hours)
        stretches = [(spent_hours, "hour", parts.head), (spent_days, "day", parts.days)]
        stretches.append((spent_hours, "hour", parts.tail))
        selects = [_per_name(table, bucket, part, only, by) for table, bucket, part in stretches if part]
        if not selects:
            return {}
        every = union_all(*selects).subquery()
        name = every.c[by.value]
        rows = await self._transaction.run(select(name, *(func.sum(every.c[s]).label(s) for s in SUMS)).group_by(name))
        return {row[by.value]: _sums(row) for row in rows.mappings()}

    async def first_hour(self) -> int | None:
        rows = await self._transaction.run(select(func.min(spent_totals.c.hour)))
        first: int | None = rows.scalar_one()
        return first


def _per_name(table: Table, bucket: str, buckets: range, only: Only, by: Facet) -> Select[tuple[object, ...]]:
    name = table.c[by.value]
    return select(name, *_added(table)).where(*_meant(table, bucket, buckets, only)).group_by(name)


def _added(table: Table) -> list[ColumnElement[int]]:
    return [func.sum(table.c[name]).label(name) for name in SUMS]


def _meant(table: Table, bucket: str, buckets: range, only: Only) -> list[ColumnElement[bool]]:
    named = [table.c[facet.value].in_(names) for facet in Facet if (names := only.names(facet))]
    return [_within(table.c[bucket], buckets), *named]


def _within(column: ColumnElement[int], buckets: range) -> ColumnElement[bool]:
    return column.between(buckets.start, buckets.stop - 1)


def _sums(row: RowMapping) -> Sums:
    return Sums(*(int(row[name]) for name in SUMS))  # PostgreSQL adds integers up to a decimal

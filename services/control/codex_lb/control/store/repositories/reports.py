"""Reads the sums of turns, always from the fewest rows that answer, so that it stays a matter of moments."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ColumnElement, RowMapping, Select, Table, func, select, union_all

from codex_lb.control.domain.report import Facet, Only, split
from codex_lb.control.domain.rollup import HOURS_PER_DAY, SUMS, Sums
from codex_lb.control.store.tables import spent_days, spent_hours, spent_names, spent_totals
from codex_lb.control.store.transaction import Transaction


class SqlReports:
    """The reading side of the sums."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def per_hour(self, hours: range, only: Only) -> Mapping[int, Sums]:
        if only.is_everything:
            rows = await self._transaction.run(select(spent_totals).where(_within(spent_totals.c.hour, hours)))
        else:
            facet = next((facet for facet in Facet if _is_about(only, facet)), None)
            table = spent_hours if facet is None else spent_names
            meant = _meant(table, "hour", hours, only) if facet is None else _named(facet, hours, only)
            wanted = select(table.c.hour, *_added(table)).where(*meant).group_by(table.c.hour)
            rows = await self._transaction.run(wanted)
        return {row["hour"]: _sums(row) for row in rows.mappings()}

    async def per_day(self, days: range, only: Only, by: Facet) -> Mapping[tuple[str, int], Sums]:
        if _is_about(only, by):
            hours = range(days.start * HOURS_PER_DAY, days.stop * HOURS_PER_DAY)
            table, meant = spent_names, _named(by, hours, only)
            keys = [spent_names.c.name.label("name"), (spent_names.c.hour // HOURS_PER_DAY).label("day")]
        else:
            table, meant = spent_days, _meant(spent_days, "day", days, only)
            keys = [spent_days.c[by.value].label("name"), spent_days.c.day.label("day")]
        rows = await self._transaction.run(select(*keys, *_added(table)).where(*meant).group_by(*keys))
        return {(row["name"], row["day"]): _sums(row) for row in rows.mappings()}

    async def per_name(self, hours: range, only: Only, by: Facet) -> Mapping[str, Sums]:
        if _is_about(only, by):
            of_name = select(spent_names.c.name, *_added(spent_names)).where(*_named(by, hours, only))
            rows = await self._transaction.run(of_name.group_by(spent_names.c.name))
            return {row["name"]: _sums(row) for row in rows.mappings()}
        parts = split(hours)
        stretches = [(spent_hours, "hour", parts.head), (spent_days, "day", parts.days)]
        stretches.append((spent_hours, "hour", parts.tail))
        selects = [_per_name(table, bucket, part, only, by) for table, bucket, part in stretches if part]
        if not selects:
            return {}
        every = union_all(*selects).subquery()
        name = every.c.name
        rows = await self._transaction.run(select(name, *(func.sum(every.c[s]).label(s) for s in SUMS)).group_by(name))
        return {row["name"]: _sums(row) for row in rows.mappings()}

    async def first_hour(self) -> int | None:
        rows = await self._transaction.run(select(func.min(spent_totals.c.hour)))
        first: int | None = rows.scalar_one()
        return first


def _is_about(only: Only, facet: Facet) -> bool:
    """Whether nothing but names of a facet is asked for, or everything: then cells need not be told apart."""
    return not any(only.names(other) for other in Facet if other is not facet)


def _per_name(table: Table, bucket: str, buckets: range, only: Only, by: Facet) -> Select[tuple[object, ...]]:
    name = table.c[by.value].label("name")
    return select(name, *_added(table)).where(*_meant(table, bucket, buckets, only)).group_by(name)


def _added(table: Table) -> list[ColumnElement[int]]:
    return [func.sum(table.c[name]).label(name) for name in SUMS]


def _meant(table: Table, bucket: str, buckets: range, only: Only) -> list[ColumnElement[bool]]:
    named = [table.c[facet.value].in_(names) for facet in Facet if (names := only.names(facet))]
    return [_within(table.c[bucket], buckets), *named]


def _named(facet: Facet, hours: range, only: Only) -> list[ColumnElement[bool]]:
    conditions = [spent_names.c.facet == facet.value, _within(spent_names.c.hour, hours)]
    names = only.names(facet)
    return [*conditions, spent_names.c.name.in_(names)] if names else conditions


def _within(column: ColumnElement[int], buckets: range) -> ColumnElement[bool]:
    return column.between(buckets.start, buckets.stop - 1)


def _sums(row: RowMapping) -> Sums:
    return Sums(*(int(row[name]) for name in SUMS))  # PostgreSQL adds integers up to a decimal

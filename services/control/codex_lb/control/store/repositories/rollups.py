"""Sums of turns, changed in the transaction that writes their lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from sqlalchemy import ColumnElement, Executable, Table, delete, func, select, update

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.report import Facet
from codex_lb.control.domain.rollup import HOURS_PER_DAY, SUMS, Cell, Sums, amounts_of
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.repositories.many_rows import ManyRows
from codex_lb.control.store.tables import spent_days, spent_hours, spent_names, spent_totals
from codex_lb.control.store.transaction import Transaction

HOURS_AT_ONCE = 31 * HOURS_PER_DAY  # of which an account is taken out by one statement

Key = tuple[object, ...]


class SqlRollups:
    """The writing side of the sums."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, changes: Mapping[Cell, Sums]) -> None:
        """Adds to the sums; what is to be taken out is negative."""
        totals: dict[Key, Sums] = defaultdict(Sums)
        names: dict[Key, Sums] = defaultdict(Sums)
        days: dict[Key, Sums] = defaultdict(Sums)
        hours: dict[Key, Sums] = {}
        for cell, sums in changes.items():
            parts = (cell.account_id, cell.api_key_id, cell.model)
            hours[cell.hour, *parts] = sums
            days[cell.hour // HOURS_PER_DAY, *parts] += sums
            totals[cell.hour,] += sums
            for facet, name in zip(Facet, parts, strict=True):
                names[facet.value, cell.hour, name] += sums
        for table, changed in ((spent_totals, totals), (spent_names, names), (spent_days, days), (spent_hours, hours)):
            if changed:
                await _add_to(table, self._transaction.dialect).write(self._transaction, list(_rows(table, changed)))

    async def forget(self, account_id: AccountId) -> None:
        """Takes an account out of every sum."""
        hour, is_its_own = spent_hours.c.hour, spent_hours.c.account_id == account_id
        ends = select(func.min(hour).label("first"), func.max(hour).label("last")).where(is_its_own)
        found = (await self._transaction.run(ends)).mappings().one()
        for start in range(found["first"], found["last"] + 1, HOURS_AT_ONCE) if found["first"] is not None else ():
            within = is_its_own & hour.between(start, start + HOURS_AT_ONCE - 1)
            await self._transaction.run(_without(spent_totals, None, within))
            for facet in (Facet.API_KEY, Facet.MODEL):
                await self._transaction.run(_without(spent_names, facet, within))
        for table in (spent_hours, spent_days):
            await self._transaction.run(delete(table).where(table.c.account_id == account_id))
        is_name = (spent_names.c.facet == Facet.ACCOUNT.value) & (spent_names.c.name == account_id)
        await self._transaction.run(delete(spent_names).where(is_name))


def _rows(table: Table, changed: Mapping[Key, Sums]) -> Iterable[dict[str, object]]:
    """In the order of their keys, so that two transactions which change the same sums wait for each other in one."""
    names = (*(column.name for column in table.primary_key), *SUMS)
    for key in sorted(changed, key=lambda one: tuple(map(str, one))):
        yield dict(zip(names, (*key, *amounts_of(changed[key])), strict=True))


@cache
def _add_to(table: Table, dialect: str) -> ManyRows:
    statement = insert_into(table, dialect)
    adding = statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: table.c[name] + statement.excluded[name] for name in SUMS},
    )
    return ManyRows(adding, dialect)


def _without(table: Table, facet: Facet | None, cells: ColumnElement[bool]) -> Executable:
    """Takes the sums of cells out of those per hour, and per name where a facet says which."""
    by = [spent_hours.c.hour] if facet is None else [spent_hours.c.hour, spent_hours.c[facet.value].label("name")]
    out = (
        select(*by, *(func.sum(spent_hours.c[name]).label(name) for name in SUMS)).where(cells).group_by(*by).subquery()
    )
    changed = (
        update(table).values({name: table.c[name] - out.c[name] for name in SUMS}).where(table.c.hour == out.c.hour)
    )
    return changed if facet is None else changed.where(table.c.facet == facet.value, table.c.name == out.c.name)

"""Sums of turns, changed in the transaction that writes their lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache

from sqlalchemy import Executable, Table, delete, func, select

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.rollup import HOURS_PER_DAY, SUMS, Cell, Sums
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import spent_days, spent_hours, spent_totals
from codex_lb.control.store.transaction import Transaction

CELL = ("account_id", "api_key_id", "model")


class SqlRollups:
    """The writing side of `spent_hours`, `spent_days` and `spent_totals`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def add(self, changes: Mapping[Cell, Sums]) -> None:
        """Adds to the sums; what is to be taken out is negative."""
        totals: dict[tuple[object, ...], Sums] = defaultdict(Sums)
        days: dict[tuple[object, ...], Sums] = defaultdict(Sums)
        hours: dict[tuple[object, ...], Sums] = {}
        for cell, sums in changes.items():
            names = (cell.account_id, cell.api_key_id, cell.model)
            hours[cell.hour, *names] = sums
            days[cell.hour // HOURS_PER_DAY, *names] += sums
            totals[cell.hour,] += sums
        for table, changed in ((spent_totals, totals), (spent_days, days), (spent_hours, hours)):
            await self._change(table, changed)

    async def forget(self, account_id: AccountId) -> None:
        """Takes an account out, of the totals too."""
        of_account = select(spent_hours.c.hour, *(func.sum(spent_hours.c[name]) for name in SUMS))
        rows = await self._transaction.run(
            of_account.where(spent_hours.c.account_id == account_id).group_by(spent_hours.c.hour)
        )
        await self._change(spent_totals, {(row[0],): -Sums(*map(int, row[1:])) for row in rows})
        for table in (spent_hours, spent_days):
            await self._transaction.run(delete(table).where(table.c.account_id == account_id))

    async def _change(self, table: Table, changed: Mapping[tuple[object, ...], Sums]) -> None:
        if changed:
            await self._transaction.run(_add_to(table, self._transaction.dialect), list(_rows(table, changed)))


def _rows(table: Table, changed: Mapping[tuple[object, ...], Sums]) -> Iterable[dict[str, object]]:
    """In the order of their keys, so that two transactions which change the same sums wait for each other in one."""
    names = [column.name for column in table.primary_key]
    for key in sorted(changed, key=lambda one: tuple(map(str, one))):
        yield dict(zip(names, key, strict=True)) | asdict(changed[key])


@cache
def _add_to(table: Table, dialect: str) -> Executable:
    statement = insert_into(table, dialect)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: table.c[name] + statement.excluded[name] for name in SUMS},
    )

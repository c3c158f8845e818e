"""Everything the vault sealed. A table with `key_id` and `ciphertext` belongs into SEALED; a test sees to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Table, func, literal, or_, select, union_all, update

from codex_lb.control.store.tables import alert_targets, credentials, oauth_flows, sign_in_links
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.vault_ports import Sealed, SealedRow

SEALED: Mapping[str, Table] = {table.name: table for table in (alert_targets, credentials, oauth_flows, sign_in_links)}


class SqlSealedRows:
    """The port over every table that holds a ciphertext."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def count_by_key(self) -> Mapping[str, int]:
        each = [select(table.c.key_id).where(table.c.key_id != "") for table in SEALED.values()]
        every = union_all(*each).subquery()
        rows = await self._transaction.run(
            select(every.c.key_id, func.count().label("sealed")).group_by(every.c.key_id)
        )
        return {row["key_id"]: row["sealed"] for row in rows.mappings()}

    async def of_keys(self, key_ids: Collection[str], *, after: SealedRow | None, rows_max: int) -> Sequence[SealedRow]:
        every = union_all(
            *(
                select(
                    literal(name).label("in_table"), _id(table).label("row_id"), table.c.key_id, table.c.ciphertext
                ).where(table.c.key_id.in_(key_ids))
                for name, table in SEALED.items()
            )
        ).subquery()
        wanted = select(every).order_by(every.c.in_table, every.c.row_id).limit(rows_max)
        if after is not None:
            is_further = (every.c.in_table == after.table) & (every.c.row_id > after.row_id)
            wanted = wanted.where(or_(every.c.in_table > after.table, is_further))
        rows = await self._transaction.run(wanted)
        return [
            SealedRow(row["in_table"], row["row_id"], Sealed(row["key_id"], row["ciphertext"]))
            for row in rows.mappings()
        ]

    async def replace(self, row: SealedRow, sealed: Sealed) -> bool:
        table = SEALED[row.table]
        changed = await self._transaction.run(
            update(table)
            .where(_id(table) == row.row_id, table.c.ciphertext == row.sealed.ciphertext)
            .values(key_id=sealed.key_id, ciphertext=sealed.ciphertext)
        )
        return changed.rowcount > 0


def _id(table: Table) -> Column[Any]:
    return next(iter(table.primary_key.columns))

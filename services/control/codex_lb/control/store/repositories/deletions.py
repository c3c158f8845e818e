"""Deleting much without holding one statement longer than the database allows."""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, delete, select

from codex_lb.control.store.transaction import Transaction

DELETED_AT_ONCE_MAX = 5_000  # rows; some tens of milliseconds


async def delete_where(transaction: Transaction, key: Column[object], condition: ColumnElement[bool]) -> None:
    """Deletes a table's rows by its key, so many per statement."""
    some = select(key).where(condition).limit(DELETED_AT_ONCE_MAX)
    statement = delete(key.table).where(key.in_(some))
    while (await transaction.run(statement)).rowcount == DELETED_AT_ONCE_MAX:
        pass

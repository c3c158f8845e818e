"""Which encryption keys this database was used with."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, text

from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import key_fingerprints
from codex_lb.control.store.transaction import Transaction


class SqlFingerprints:
    """The port over `key_fingerprints`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def load(self) -> frozenset[str]:
        if self._transaction.is_writing and self._transaction.dialect == "postgresql":
            # Two replicas that start on an empty database must not both find that any key will do.
            await self._transaction.run(text("LOCK TABLE key_fingerprints IN SHARE ROW EXCLUSIVE MODE"))
        return frozenset((await self._transaction.run(select(key_fingerprints.c.key_id))).scalars())

    async def save(self, key_ids: Iterable[str]) -> None:
        rows = [{"key_id": key_id} for key_id in sorted(set(key_ids))]
        if rows:
            await self._transaction.run(
                insert_into(key_fingerprints, self._transaction.dialect).on_conflict_do_nothing(), rows
            )

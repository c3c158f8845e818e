"""Which encryption keys this database was used with, and what became of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import delete, select, text, update

from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import key_fingerprints
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.vault_ports import Fingerprint


class SqlFingerprints:
    """The port over `key_fingerprints`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def load(self) -> frozenset[str]:
        return frozenset(known.key_id for known in await self.all() if known.retired_at is None)

    async def all(self) -> Sequence[Fingerprint]:
        if self._transaction.is_writing and self._transaction.dialect == "postgresql":
            # Two replicas that start on an empty database must not both find that any key will do.
            await self._transaction.run(text("LOCK TABLE key_fingerprints IN SHARE ROW EXCLUSIVE MODE"))
        rows = await self._transaction.run(select(key_fingerprints).order_by(key_fingerprints.c.key_id))
        return [Fingerprint(**row) for row in rows.mappings()]

    async def save(self, key_ids: Iterable[str], *, added_at: datetime | None = None) -> None:
        rows = [{"key_id": key_id, "added_at": added_at} for key_id in sorted(set(key_ids))]
        if rows:
            await self._transaction.run(
                insert_into(key_fingerprints, self._transaction.dialect).on_conflict_do_update(
                    index_elements=[key_fingerprints.c.key_id], set_={"retiring_at": None, "retired_at": None}
                ),
                rows,
            )

    async def begin_retiring(self, key_ids: Collection[str], *, at: datetime) -> None:
        await self._change(key_ids, retiring_at=at)

    async def keep(self, key_ids: Collection[str]) -> None:
        await self._change(key_ids, retiring_at=None)

    async def retire(self, key_ids: Collection[str], *, at: datetime) -> None:
        await self._change(key_ids, retired_at=at)

    async def forget(self, key_ids: Collection[str]) -> None:
        await self._transaction.run(delete(key_fingerprints).where(key_fingerprints.c.key_id.in_(key_ids)))

    async def _change(self, key_ids: Collection[str], **values: datetime | None) -> None:
        await self._transaction.run(
            update(key_fingerprints).where(key_fingerprints.c.key_id.in_(key_ids)).values(**values)
        )

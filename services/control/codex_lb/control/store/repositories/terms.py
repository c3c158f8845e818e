"""Numbers that must rise across restarts."""

from __future__ import annotations

from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import terms
from codex_lb.control.store.transaction import Transaction


class SqlTerms:
    """The port over `terms`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def next(self, name: str) -> int:
        counted = await self._transaction.run(
            insert_into(terms, self._transaction.dialect)
            .values(name=name, value=1)
            .on_conflict_do_update(index_elements=[terms.c.name], set_={"value": terms.c.value + 1})
            .returning(terms.c.value)
        )
        return int(counted.scalar_one())

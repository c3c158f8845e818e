"""The settings that operators changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select

from codex_lb.control.domain.settings import NAMES, LiveSettings
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.structures import restored, structure
from codex_lb.control.store.tables import settings
from codex_lb.control.store.transaction import Transaction


class SqlSettings:
    """The port over `settings`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def all(self) -> Mapping[str, object]:
        """Each in the type of its field; one that this version does not know is left alone."""
        rows = await self._transaction.run(select(settings.c.name, settings.c.value))
        plain = {str(row.name): row.value for row in rows if row.name in NAMES}
        read = restored(plain, LiveSettings)
        return {name: getattr(read, name) for name in plain}

    async def put(self, values: Mapping[str, object]) -> None:
        """Each replaces what was there."""
        for name, value in values.items():
            insert = insert_into(settings, self._transaction.dialect).values(name=name, value=structure(value))
            await self._transaction.run(
                insert.on_conflict_do_update(index_elements=[settings.c.name], set_={"value": insert.excluded.value})
            )

    async def remove(self, names: Collection[str]) -> None:
        """As if they had never been changed."""
        await self._transaction.run(delete(settings).where(settings.c.name.in_(names)))

"""Model lists by plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select

from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import catalog_models, catalogs
from codex_lb.control.store.transaction import Transaction


class SqlCatalogs:
    """The port over `catalogs` and `catalog_models`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def by_plan(self) -> Mapping[str, Sequence[tuple[str, bytes]]]:
        rows = await self._transaction.run(
            select(catalogs.c.plan, catalog_models.c.slug, catalog_models.c.entry_json)
            .join_from(catalogs, catalog_models, isouter=True)
            .order_by(catalogs.c.plan, catalog_models.c.position)
        )
        lists: dict[str, list[tuple[str, bytes]]] = {}
        for row in rows.mappings():
            models = lists.setdefault(row["plan"], [])
            if row["slug"] is not None:
                models.append((row["slug"], row["entry_json"]))
        return lists

    async def put(self, plan: str, models: Sequence[tuple[str, bytes]], *, seen_at: datetime) -> None:
        # The plan's row first: whoever holds it is alone with the plan's list.
        await self._transaction.run(
            insert_into(catalogs, self._transaction.dialect)
            .values(plan=plan, seen_at=seen_at)
            .on_conflict_do_update(index_elements=[catalogs.c.plan], set_={"seen_at": seen_at})
        )
        await self._transaction.run(delete(catalog_models).where(catalog_models.c.plan == plan))
        rows = [
            {"plan": plan, "position": position, "slug": slug, "entry_json": entry_json}
            for position, (slug, entry_json) in enumerate(models)
        ]
        if rows:
            await self._transaction.run(insert(catalog_models), rows)

"""Takes over what other controls made of API keys: they are read anew from the database."""

from __future__ import annotations

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.ports import Store


class AdoptKeys:
    """The verbs. They raise StoreUnavailableError."""

    def __init__(self, book: KeyBook, limits: KeyLimits, store: Store) -> None:
        self._book = book
        self._limits = limits
        self._store = store

    async def all(self) -> None:
        """Another control has made, changed or deleted keys."""
        async with self._book.changing:
            async with self._store.begin(writing=False) as unit:
                stored = {key.api_key_id: key for key in await unit.api_keys.all()}
            for known in self._book.all():
                await self._adopt(known, stored.get(known.api_key_id))
            for key in stored.values():
                await self._adopt(self._book.get(key.api_key_id), key)

    async def one(self, api_key_id: ApiKeyId) -> None:
        """Another control has changed or deleted this key."""
        async with self._book.changing:
            async with self._store.begin(writing=False) as unit:
                stored = await unit.api_keys.get(api_key_id)
            await self._adopt(self._book.get(api_key_id), stored)

    async def _adopt(self, known: ApiKey | None, stored: ApiKey | None) -> None:
        if stored is None and known is not None:
            self._book.remove(known.api_key_id)
            await self._limits.gone(known)
        if stored is not None and stored != known:
            self._book.put(stored)
            await self._limits.changed(known, stored)

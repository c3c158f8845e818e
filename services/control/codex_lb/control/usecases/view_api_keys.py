"""Shows API keys as they stand now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.limit_ports import BudgetUse
from codex_lb.control.usecases.pages import Page, page_of
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class ApiKeyView:
    """A key with all that people ask about it."""

    key: ApiKey
    last_used_at: datetime | None
    use: Mapping[str, BudgetUse]  # by limit_id
    now: datetime
    streams_in_use: int


class ViewApiKeys:
    """The verbs get and list. While the database is away nobody knows when keys were last used; the rest is in memory."""

    def __init__(self, book: KeyBook, limits: KeyLimits, leases: Leases, store: Store, clock: Clock) -> None:
        self._book = book
        self._limits = limits
        self._leases = leases
        self._store = store
        self._clock = clock

    async def one(self, api_key_id: ApiKeyId) -> ApiKeyView:
        """Raises ApiKeyNotFoundError."""
        return await self.view(self._book.key(api_key_id))

    async def page(self, *, size: int, token: str) -> Page[ApiKeyView]:
        """Keys behind the page token's, oldest first. Raises InvalidPageTokenError."""
        page = page_of(self._book.all(), lambda key: (key.created_at, key.api_key_id), size=size, token=token)
        last_used = await self._last_used([key.api_key_id for key in page.entries])
        views = [await self._view(key, last_used.get(key.api_key_id)) for key in page.entries]
        return Page(tuple(views), page.next_page_token, page.total)

    async def view(self, key: ApiKey) -> ApiKeyView:
        """A key as people see it."""
        return await self._view(key, (await self._last_used([key.api_key_id])).get(key.api_key_id))

    async def _view(self, key: ApiKey, last_used_at: datetime | None) -> ApiKeyView:
        use = await self._limits.use_of(key)
        return ApiKeyView(key, last_used_at, use, self._clock.now(), self._leases.held_by_key(key.api_key_id))

    async def _last_used(self, of: Collection[ApiKeyId]) -> Mapping[ApiKeyId, datetime]:
        with suppress(StoreUnavailableError):
            async with self._store.begin(writing=False) as unit:
                return await unit.api_keys.last_used(of)
        return {}

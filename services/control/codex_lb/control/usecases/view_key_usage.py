"""What a key has used, for its holder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.report import Facet, Only
from codex_lb.control.domain.rollup import Sums, hour_of
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How a limit stands."""

    limit: Limit
    used: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """Sums since the key was made, and its limits."""

    sums: Sums
    limits: tuple[LimitUse, ...]


class ViewKeyUsage:
    """The verb. Raises ApiKeyNotFoundError or StoreUnavailableError."""

    def __init__(self, book: KeyBook, limits: KeyLimits, store: Store, clock: Clock) -> None:
        self._book = book
        self._limits = limits
        self._store = store
        self._clock = clock

    async def __call__(self, api_key_id: ApiKeyId) -> KeyUsage:
        """As of now."""
        key, now = self._book.key(api_key_id), self._clock.now()
        hours = range(hour_of(key.created_at), hour_of(now) + 1)
        async with self._store.begin(writing=False) as unit:
            sums = await unit.rollups.per_name(hours, Only(api_key_ids=(api_key_id,)), Facet.API_KEY)
        use = await self._limits.use_of(key)
        limits = tuple(LimitUse(x, use[x.limit_id].used, x.resets_at(now)) for x in key.limits)
        return KeyUsage(sums.get(api_key_id, Sums()), limits)

"""How the limits of all API keys stand, for alerts."""

from __future__ import annotations

from collections.abc import Sequence

import anyio.lowlevel

from codex_lb.control.domain.alert import KeyUse
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.kit.clock import Clock
from codex_lb.kit.portions import portions

KEYS_AT_ONCE = 100  # a millisecond; between such portions turns go on


class TellKeyUse:
    """The verb."""

    def __init__(self, book: KeyBook, limits: KeyLimits, clock: Clock) -> None:
        self._book = book
        self._limits = limits
        self._clock = clock

    async def __call__(self) -> Sequence[KeyUse]:
        """Every limit of every key that is in use."""
        keys = [key for key in self._book.all() if key.limits and key.is_enabled]
        told: list[KeyUse] = []
        for portion in portions(keys, KEYS_AT_ONCE):
            told += await self._tell(portion)
            await anyio.lowlevel.checkpoint()
        return told

    async def _tell(self, keys: Sequence[ApiKey]) -> list[KeyUse]:
        now = self._clock.now()
        told: list[KeyUse] = []
        uses = await self._limits.use_of_all(keys)
        for key in keys:
            use = uses.get(key.api_key_id, {})
            told += [
                KeyUse(
                    key.api_key_id,
                    key.name,
                    limit.limit_id,
                    f"{limit.unit} per {limit.window}" + (f" for {limit.model}" if limit.model else ""),
                    100.0 * use[limit.limit_id].used / limit.amount_max if limit.amount_max else 100.0,
                    limit.resets_at(now),
                )
                for limit in key.limits
                if limit.limit_id in use
            ]
        return told

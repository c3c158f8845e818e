"""The product in a few numbers, for a page."""

from __future__ import annotations

from dataclasses import dataclass

from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class Glance:
    """What is seen."""

    version: str
    accounts: int
    ready_accounts: int
    models: tuple[str, ...]
    turns_running: int
    api_keys: int
    asks_for_keys: bool


class TakeGlance:
    """The verb. Answered from memory."""

    def __init__(
        self, pool: Pool, leases: Leases, keys: KeyBook, settings: SettingsBook, clock: Clock, *, version: str
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._settings = settings
        self._leases = leases
        self._clock = clock
        self._version = version

    def __call__(self) -> Glance:
        """How it is now."""
        now, members = self._clock.now(), self._pool.members()
        return Glance(
            version=self._version,
            accounts=len(members),
            ready_accounts=sum(member.standing_at(now).is_ready for member in members),
            models=tuple(model.slug for model in self._pool.catalog.models),
            turns_running=self._leases.held(),
            api_keys=len(self._keys.all()),
            asks_for_keys=self._settings.now.api_key_auth_enabled,
        )

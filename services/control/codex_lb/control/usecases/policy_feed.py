"""The policy as gateways should hold it now: parts with versions, so that whoever fell behind gets only what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from codex_lb.control.domain.catalog import Catalog, catalog_of
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.policy import (
    GatewayKey,
    GatewaySettings,
    PoolState,
    gateway_settings_of,
)
from codex_lb.control.domain.pool_tally import PoolTally, Share
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.usecases.key_deltas import KeyChange, KeyDeltas
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """What a gateway must take over to hold `version`; a part that is None has not changed."""

    version: int
    is_snapshot: bool
    settings: GatewaySettings | None
    catalog: Catalog | None
    pool: PoolState | None
    keys: KeyChange


class PolicyFeed:
    """The present policy and its history since this control started.

    A version means something only together with the history id: another control, or this one after a restart, counts
    anew.
    """

    def __init__(self, pool: Pool, book: SettingsBook, clock: Clock, *, history_id: str) -> None:
        self._pool = pool
        self._clock = clock
        self.history_id = history_id
        self.version = 1
        self._settings, self._settings_version = gateway_settings_of(book.now), 1
        self._tally = PoolTally()
        self._changed = {member.account.account_id for member in pool.members()}
        self._pool_state, self._pool_version = self._pool_state_now(), 1
        self._catalog_version = 1
        self._keys = KeyDeltas()
        self._news = asyncio.Event()
        self._catalog_tellers: list[Callable[[], None]] = []
        pool.on_change(self._changed.add)
        book.on_change(self.take_settings)

    async def load_catalog(self, store: Store) -> None:
        """Builds the catalog anew from what is stored, for selection and for gateways."""
        async with store.begin(writing=False) as unit:
            catalog = catalog_of(await unit.catalogs.by_plan())
        if catalog.etag != self._pool.catalog.etag:
            self._pool.catalog = catalog
            self._catalog_version = self._publish()
            for tell in self._catalog_tellers:
                tell()

    def on_catalog(self, teller: Callable[[], None]) -> None:
        """Whoever tells other controls that there is another catalog; those that have it already tell nobody."""
        self._catalog_tellers.append(teller)

    def take_settings(self, settings: LiveSettings) -> None:
        """Tells gateways what of the settings is theirs, if that changed."""
        told = gateway_settings_of(settings)
        if told != self._settings:
            self._settings = told
            self._settings_version = self._publish()

    def put_key(self, key: GatewayKey) -> None:
        """Tells gateways of a key that is new or another than before."""
        self._keys.put(key, version=self._publish())

    def remove_key(self, api_key_id: ApiKeyId) -> None:
        """Tells gateways that a key is gone."""
        self._keys.remove(api_key_id, version=self._publish())

    def refresh_pool(self) -> None:
        """Takes the state of the pool; told to gateways only if it is another one."""
        state = self._pool_state_now()
        if state != self._pool_state:
            self._pool_state = state
            self._pool_version = self._publish()

    def since(self, version: int, history_id: str) -> PolicyChange:
        """All that changed after a version; everything, when it is not one of this history."""
        is_snapshot = history_id != self.history_id or not 0 < version <= self.version
        is_snapshot = is_snapshot or not self._keys.is_known_since(version)
        held = 0 if is_snapshot else version
        return PolicyChange(
            version=self.version,
            is_snapshot=is_snapshot,
            settings=self._settings if self._settings_version > held else None,
            catalog=self._pool.catalog if self._catalog_version > held else None,
            pool=self._pool_state if self._pool_version > held else None,
            keys=self._keys.since(held),
        )

    async def changed(self, version: int) -> None:
        """Returns once there is a newer version."""
        while self.version <= version:
            await self._news.wait()

    def _publish(self) -> int:
        self.version += 1
        self._news.set()
        self._news = asyncio.Event()
        return self.version

    def _pool_state_now(self) -> PoolState:
        now = self._clock.now()
        self._changed.update(self._tally.passed(now))
        while self._changed:
            account_id = self._changed.pop()
            member = self._pool.get(account_id)
            if member is None:
                self._tally.remove(account_id)
            else:
                share = Share(member.account.plan, member.standing_at(now), member.record.usage)
                self._tally.put(account_id, share, now=now)
        return self._tally.state()

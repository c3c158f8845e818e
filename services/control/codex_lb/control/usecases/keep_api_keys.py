"""Makes, changes, rotates and removes API keys. Each returns once it is committed, and gateways learn of it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from codex_lb.control.domain.api_key import ApiKey, Secret, checked, rotated, secret_of, with_limits, with_usage_reset
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.errors import ApiKeyNotFoundError, InvalidUpdateError, StoreConflictError
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock

KEYS_MAX = 10_000  # each gateway holds all of them


class KeepApiKeys:
    """The verbs. They raise InvalidUpdateError, ApiKeyNotFoundError, and StoreConflictError for an etag that is old."""

    def __init__(
        self,
        book: KeyBook,
        limits: KeyLimits,
        store: Store,
        clock: Clock,
        *,
        new_id: Callable[[str], str],
        new_random_part: Callable[[], str],
    ) -> None:
        self._book = book
        self._limits = limits
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._new_random_part = new_random_part

    async def create(self, fill: Callable[[ApiKey], ApiKey]) -> tuple[ApiKey, Secret]:
        """A new key; `fill` gives it what was asked for."""
        now, secret = self._clock.now(), secret_of(self._new_random_part())
        blank = ApiKey(
            api_key_id=ApiKeyId(self._new_id("key")),
            name="",
            prefix=secret.prefix,
            digest=secret.digest,
            created_at=now,
            updated_at=now,
        )
        async with self._book.changing:
            if len(self._book.all()) >= KEYS_MAX:
                raise InvalidUpdateError(f"There are {KEYS_MAX} keys, as many as there may be. Delete one first.")
            key = self._checked(blank, fill(blank))
            async with self._store.begin(writing=True) as unit:
                await unit.api_keys.add(key)
            self._book.put(key)
            await self._limits.changed(None, key)
            self._book.tell_others()
        return key, secret

    async def update(self, api_key_id: ApiKeyId, change: Callable[[ApiKey], ApiKey], *, etag: str = "") -> ApiKey:
        """The key, changed."""
        async with self._book.changing:
            known = self._book.key(api_key_id)
            if etag and etag != known.etag:
                raise StoreConflictError("The key was changed meanwhile. Look at it again.")
            key = replace(
                self._checked(known, change(known)), revision=known.revision + 1, updated_at=self._clock.now()
            )
            async with self._store.begin(writing=True) as unit:
                is_saved = await unit.api_keys.save(key)
            if not is_saved:
                raise StoreConflictError("The key was changed by another control meanwhile. Look at it again.")
            self._book.put(key)
            await self._limits.changed(known, key)
            self._book.tell_others()
        return key

    async def rotate(self, api_key_id: ApiKeyId, *, overlap: timedelta, etag: str = "") -> tuple[ApiKey, Secret]:
        """The key with a new secret."""
        secret = secret_of(self._new_random_part())
        now = self._clock.now()
        key = await self.update(api_key_id, lambda known: rotated(known, secret, overlap=overlap, now=now), etag=etag)
        return key, secret

    async def enable(self, api_key_id: ApiKeyId, *, is_enabled: bool) -> ApiKey:
        """The key, switched on or off."""
        return await self.update(api_key_id, lambda known: replace(known, is_enabled=is_enabled))

    async def reset_usage(self, api_key_id: ApiKeyId, limit_ids: list[str]) -> ApiKey:
        """The key, with the count of its limits begun anew."""
        now = self._clock.now()
        return await self.update(api_key_id, lambda known: with_usage_reset(known, limit_ids, now=now))

    async def delete(self, api_key_id: ApiKeyId) -> None:
        """It is gone; what it spent stays in the request log."""
        async with self._book.changing:
            key = self._book.key(api_key_id)
            async with self._store.begin(writing=True) as unit:
                if not await unit.api_keys.delete(api_key_id):
                    raise ApiKeyNotFoundError(f"There is no API key {api_key_id!r}.")
            self._book.remove(api_key_id)
            await self._limits.gone(key)
            self._book.tell_others()

    def _checked(self, known: ApiKey, wanted: ApiKey) -> ApiKey:
        limits = with_limits(known, wanted.limits, new_limit_id=lambda: self._new_id("limit"))
        return checked(replace(wanted, limits=limits))

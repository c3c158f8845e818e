"""The API keys as control sees them now: loaded once from the store, changed by operators, told to gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.domain.policy import GatewayKey, ReachedLimit
from codex_lb.control.errors import ApiKeyNotFoundError
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.ports import Store


class KeyBook:
    """All keys by id, in the order in which they were made."""

    def __init__(self, feed: PolicyFeed) -> None:
        self._feed = feed
        self._keys: dict[ApiKeyId, ApiKey] = {}
        self._scopes: dict[ApiKeyId, frozenset[AccountId]] = {}
        self._reached: dict[ApiKeyId, tuple[ReachedLimit, ...]] = {}
        self._tellers: list[Callable[[], None]] = []
        self.changing = asyncio.Lock()  # held from reading a key to storing it, so that no change is lost

    async def load(self, store: Store) -> None:
        """Reads all keys."""
        async with store.begin(writing=False) as unit:
            for key in await unit.api_keys.all():
                self.put(key)

    def on_own_change(self, teller: Callable[[], None]) -> None:
        """Whoever tells other controls."""
        self._tellers.append(teller)

    def tell_others(self) -> None:
        """A key was stored here, or deleted."""
        for tell in self._tellers:
            tell()

    def all(self) -> Sequence[ApiKey]:
        """Every key, oldest first."""
        return list(self._keys.values())

    def get(self, api_key_id: ApiKeyId) -> ApiKey | None:
        """The key of that id, if there is one."""
        return self._keys.get(api_key_id)

    def key(self, api_key_id: ApiKeyId) -> ApiKey:
        """Raises ApiKeyNotFoundError."""
        key = self._keys.get(api_key_id)
        if key is None:
            raise ApiKeyNotFoundError(f"There is no API key {api_key_id!r}.")
        return key

    def put(self, key: ApiKey) -> None:
        """A key that is new, or another than before; gateways learn of it at once."""
        self._keys[key.api_key_id] = key
        self._scopes.pop(key.api_key_id, None)
        if key.account_scope is not None:
            self._scopes[key.api_key_id] = frozenset(key.account_scope)
        # Of a limit that was changed or reset nobody can say yet.
        self._reached[key.api_key_id] = tuple(r for r in self.reached(key.api_key_id) if r.limit in key.limits)
        self._feed.put_key(GatewayKey(key, self._reached[key.api_key_id]))

    def scope(self, api_key_id: ApiKeyId) -> frozenset[AccountId] | None:
        """The accounts a key may use; None for all."""
        return self._scopes.get(api_key_id)

    def tell_reached(self, api_key_id: ApiKeyId, reached: tuple[ReachedLimit, ...]) -> bool:
        """Which limits of a key are used up; told to gateways if that is news, and whether it is."""
        key = self._keys.get(api_key_id)
        if key is None or reached == self.reached(api_key_id):
            return False
        self._reached[api_key_id] = reached
        self._feed.put_key(GatewayKey(key, reached))
        return True

    def remove(self, api_key_id: ApiKeyId) -> None:
        """A key is gone, for gateways at once."""
        for known in (self._keys, self._scopes, self._reached):
            known.pop(api_key_id, None)
        self._feed.remove_key(api_key_id)

    def reached(self, api_key_id: ApiKeyId) -> tuple[ReachedLimit, ...]:
        """Which limits of a key gateways take for used up."""
        return self._reached.get(api_key_id, ())

"""The API keys as control sees them now: loaded once from the store, changed by operators, told to gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.policy import GatewayKey
from codex_lb.control.errors import ApiKeyNotFoundError
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.ports import Store


class KeyBook:
    """All keys by id, in the order in which they were made."""

    def __init__(self, feed: PolicyFeed) -> None:
        self._feed = feed
        self._keys: dict[ApiKeyId, ApiKey] = {}
        self.changing = asyncio.Lock()  # held from reading a key to storing it, so that no change is lost

    async def load(self, store: Store) -> None:
        """Reads all keys."""
        async with store.begin(writing=False) as unit:
            for key in await unit.api_keys.all():
                self.put(key)

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
        self._feed.put_key(GatewayKey(key))

    def remove(self, api_key_id: ApiKeyId) -> None:
        """A key is gone, for gateways at once."""
        self._keys.pop(api_key_id, None)
        self._feed.remove_key(api_key_id)

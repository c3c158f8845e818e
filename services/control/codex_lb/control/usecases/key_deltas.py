"""API keys by the version in which they last changed, so that gateways are told of those and of no others."""

from __future__ import annotations

from dataclasses import dataclass

from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.policy import GatewayKey

REMOVED_MAX = 1000  # keys that are gone and remembered; whoever fell further behind takes all keys anew


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Keys that are new or changed, and those that are gone."""

    changed: tuple[GatewayKey, ...] = ()
    removed: tuple[ApiKeyId, ...] = ()


class KeyDeltas:
    """All keys, and the last of those that are gone."""

    def __init__(self) -> None:
        self._keys: dict[ApiKeyId, tuple[int, GatewayKey]] = {}  # in the order of their last change
        self._removed: dict[ApiKeyId, int] = {}
        self._known_since = 0  # removals up to this version are forgotten

    def put(self, key: GatewayKey, *, version: int) -> None:
        """A key is new or changed."""
        self._keys.pop(key.key.api_key_id, None)
        self._keys[key.key.api_key_id] = version, key

    def remove(self, api_key_id: ApiKeyId, *, version: int) -> None:
        """A key is gone."""
        self._keys.pop(api_key_id, None)
        self._removed[api_key_id] = version
        if len(self._removed) > REMOVED_MAX:
            oldest = next(iter(self._removed))
            self._known_since = self._removed.pop(oldest)

    def is_known_since(self, version: int) -> bool:
        """Whether all that happened after a version can still be told."""
        return version >= self._known_since

    def since(self, version: int) -> KeyChange:
        """What happened after a version; after 0, all keys there are."""
        changed: list[GatewayKey] = []
        for changed_at, key in reversed(self._keys.values()):
            if changed_at <= version:
                break
            changed.append(key)
        removed = (gone for gone, at in self._removed.items() if version and at > version)
        return KeyChange(tuple(reversed(changed)), tuple(removed))

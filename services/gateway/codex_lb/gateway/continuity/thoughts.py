"""Reasoning on its way to chat clients, remembered: whose it is, and which tool calls it led to.

Reasoning is sealed for the account that wrote it, and a model that called a tool goes on better with it. Few chat clients
bring it back: the AI SDK and OpenCode return its bare text. All of them return the ids of the calls, so it is found by
those. What is forgotten, or was seen by another replica only, is a thought less: the conversation goes on without it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from codex_lb.gateway.continuity.owners import MemoryOwners

BYTES_MAX = 64 * 2**20  # of items; one is some kilobytes, so this is some thousand steps of agents


@dataclass(frozen=True, slots=True)
class Sealed:
    """A reasoning item and the ciphertext in it."""

    ciphertext: str
    item: bytes  # as JSON


class MemoryThoughts:
    """Thoughts that this replica saw; whatever was used longest ago is forgotten first."""

    def __init__(self, *, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._before: OrderedDict[tuple[str, str], tuple[bytes, ...]] = OrderedDict()
        self._owners = MemoryOwners()

    def remember(self, account_id: str, api_key_id: str, call_ids: Sequence[str], thoughts: Sequence[Sealed]) -> None:
        """The account thought this before it made these calls, for whoever holds the API key."""
        for thought in thoughts:
            self._owners.remember(_digest(thought.ciphertext), account_id)
        if not call_ids or not thoughts:
            return
        self._forget((api_key_id, call_ids[0]))
        self._before[api_key_id, call_ids[0]] = tuple(thought.item for thought in thoughts)
        self._bytes += sum(len(thought.item) for thought in thoughts)
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._before)))

    def before(self, api_key_id: str, call_ids: Sequence[str]) -> tuple[bytes, ...]:
        """The items that led to these calls, as far as they are remembered."""
        for call_id in call_ids:
            if items := self._before.get((api_key_id, call_id)):
                self._before.move_to_end((api_key_id, call_id))
                return items
        return ()

    def owner_of(self, ciphertext: str) -> str:
        """The account that can read it, empty when it is not known."""
        return self._owners.owner_of(_digest(ciphertext))

    def _forget(self, key: tuple[str, str]) -> None:
        self._bytes -= sum(len(item) for item in self._before.pop(key, ()))


def _digest(ciphertext: str) -> str:
    return hashlib.sha256(ciphertext.encode()).hexdigest()[:32]

"""What is known of the leases that are held, counted in every way that is asked for: the reading half of the Leases port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease


class Held(Struct, frozen=True):
    """As much of a lease as is counted."""

    lease_id: LeaseId
    owner: ReplicaId
    account_id: AccountId
    api_key_id: str
    epoch: int
    granted_at: datetime


def held(lease: Lease, owner: ReplicaId) -> Held:
    """As much of it as is counted."""
    return Held(lease.lease_id, owner, lease.account_id, lease.api_key_id, lease.epoch, lease.granted_at)


class LeaseCounts:
    """The counts. Whoever keeps the leases says what is taken, begun and freed; each change is told to the listeners."""

    def __init__(self) -> None:
        self._held: dict[LeaseId, Held] = {}
        self._of: dict[ReplicaId, dict[LeaseId, None]] = {}  # a set that keeps its order
        self._being_created: set[LeaseId] = set()  # upstream has not begun to answer these
        self._in_use: Counter[AccountId] = Counter()
        self._creating: Counter[AccountId] = Counter()
        self._by_key: Counter[str] = Counter()
        self._last_granted: dict[AccountId, int] = {}
        self._listeners: list[Callable[[AccountId], None]] = []

    def on_change(self, listener: Callable[[AccountId], None]) -> None:
        """Tells a listener of every account whose slots are taken or freed from now on."""
        self._listeners.append(listener)

    def in_use(self, account_id: AccountId) -> int:
        """Stream slots taken on an account."""
        return self._in_use[account_id]

    def creating(self, account_id: AccountId) -> int:
        """Turns on an account that upstream has not begun to answer."""
        return self._creating[account_id]

    def last_granted(self, account_id: AccountId) -> int:
        """The fence of its newest lease; 0 when it never had one."""
        return self._last_granted.get(account_id, 0)

    def held_by_key(self, api_key_id: str) -> int:
        """Leases of one API key."""
        return self._by_key[api_key_id]

    def granted_since(self, account_id: AccountId, when: datetime) -> int:
        """Leases of an account that were granted since then."""
        return sum(one.account_id == account_id and one.granted_at >= when for one in self._held.values())

    def held(self) -> int:
        """Leases in all."""
        return len(self._held)

    def held_by(self, replica_id: ReplicaId) -> int:
        """Leases of one gateway."""
        return len(self._of.get(replica_id, ()))

    def taken(self, one: Held, *, is_creating: bool = True) -> None:
        """A slot is taken."""
        self._held[one.lease_id] = one
        self._of.setdefault(one.owner, {})[one.lease_id] = None
        self._in_use[one.account_id] += 1
        self._by_key[one.api_key_id] += 1
        if is_creating:
            self._being_created.add(one.lease_id)
            self._creating[one.account_id] += 1
        self.granted(one.account_id, one.epoch)
        self._tell(one.account_id)

    def granted(self, account_id: AccountId, epoch: int) -> None:
        """An account was given a lease of that fence, which may have ended since."""
        self._last_granted[account_id] = max(epoch, self.last_granted(account_id))

    def begin(self, lease_id: LeaseId) -> None:
        """Upstream has begun to answer, if the lease is one of these at all."""
        if lease_id in self._being_created:
            self._being_created.discard(lease_id)
            account_id = self._held[lease_id].account_id
            less(self._creating, account_id)
            self._tell(account_id)

    def freed(self, lease_id: LeaseId) -> None:
        """A slot is free again."""
        self.begin(lease_id)
        one = self._held.pop(lease_id)
        leases = self._of[one.owner]
        del leases[lease_id]
        if not leases:
            del self._of[one.owner]
        less(self._in_use, one.account_id)
        less(self._by_key, one.api_key_id)
        self._tell(one.account_id)

    def replace(self, all_held: Iterable[Held], being_created: frozenset[LeaseId]) -> None:
        """All there is, whatever was known before."""
        accounts = set(self._in_use)
        self._held, self._of, self._being_created = {}, {}, set()
        self._in_use, self._creating, self._by_key = Counter(), Counter(), Counter()
        for one in all_held:
            self.taken(one, is_creating=one.lease_id in being_created)
        for account_id in accounts:
            self._tell(account_id)

    def leases_of(self, owner: ReplicaId) -> list[LeaseId]:
        """What a gateway holds, in the order in which it was taken."""
        return list(self._of.get(owner, ()))

    def _tell(self, account_id: AccountId) -> None:
        for listener in self._listeners:
            listener(account_id)


K = TypeVar("K", bound=str)


def less(counter: Counter[K], key: K) -> None:
    """One less; nothing is kept of what nobody holds any more."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]

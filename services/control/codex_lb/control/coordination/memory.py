"""Soft state of a single control replica, in its memory. Nothing here outlives the process, and nothing needs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease


@dataclass(slots=True)
class Holder:
    """A gateway and what it holds."""

    alive_until: datetime
    is_known: bool = False  # was heard since it last lapsed; a grant alone does not make it so
    leases: dict[LeaseId, Lease] = field(default_factory=dict)
    creating: set[LeaseId] = field(default_factory=set)  # those that upstream has not begun to answer


class MemoryLeases:
    """The Leases port for one control replica. Every method runs to its end without waiting, so each is atomic."""

    def __init__(self, *, ttl_s: float) -> None:
        self._ttl = timedelta(seconds=ttl_s)
        self._holders: dict[ReplicaId, Holder] = {}
        self._owner_of: dict[LeaseId, ReplicaId] = {}
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
        leases = (lease for holder in self._holders.values() for lease in holder.leases.values())
        return sum(lease.account_id == account_id and lease.granted_at >= when for lease in leases)

    def held(self) -> int:
        """Leases in all."""
        return len(self._owner_of)

    def held_by(self, replica_id: ReplicaId) -> int:
        """Leases of one gateway."""
        holder = self._holders.get(replica_id)
        return len(holder.leases) if holder else 0

    async def take(self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0) -> bool:
        """Takes a slot, or says that there is none."""
        if slots and self._in_use[lease.account_id] >= slots:
            return False
        if create_slots and self._creating[lease.account_id] >= create_slots:
            return False
        self._remember(lease, owner)
        return True

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for what it holds: restores what was lost here, frees what was lost on the way."""
        announced = {lease.lease_id for lease in held}
        holder = self._holders.get(owner)
        undelivered = [x for x in holder.leases.values() if x.lease_id not in announced] if holder else []
        for lease in undelivered:
            self._forget(owner, lease)
        for lease in held:
            if lease.lease_id not in self._owner_of:
                self._remember(lease, owner)
                self._begin(self._holders[owner], lease)  # long ago, as likely as not
        return undelivered

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Frees the slot. A fence that is not the lease's own ends nothing."""
        owner = self._owner_of.get(lease_id)
        if owner is None:
            return None
        lease = self._holders[owner].leases[lease_id]
        if lease.epoch != epoch:
            return None
        self._forget(owner, lease)
        return lease

    async def begun(self, lease_ids: Sequence[LeaseId]) -> None:
        """Upstream has begun to answer these."""
        for lease_id in lease_ids:
            owner = self._owner_of.get(lease_id)
            if owner is not None:
                self._begin(self._holders[owner], self._holders[owner].leases[lease_id])

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:
        """A gateway was heard."""
        holder = self._holders.get(owner)
        if holder is None:
            holder = self._holders[owner] = Holder(alive_until=now + self._ttl)
        holder.alive_until = now + self._ttl
        was_known, holder.is_known = holder.is_known, True
        return was_known

    async def lapse(self, *, now: datetime) -> list[Lease]:
        """Removes what silent gateways held."""
        lapsed: list[Lease] = []
        for owner, holder in list(self._holders.items()):
            if holder.alive_until > now:
                continue
            lapsed += holder.leases.values()
            for lease in list(holder.leases.values()):
                self._forget(owner, lease)
            del self._holders[owner]
        return lapsed

    def _remember(self, lease: Lease, owner: ReplicaId) -> None:
        # A grant to a gateway never heard of would have no end: its TTL starts with the grant.
        holder = self._holders.setdefault(owner, Holder(alive_until=lease.granted_at + self._ttl))
        holder.leases[lease.lease_id] = lease
        holder.creating.add(lease.lease_id)
        self._owner_of[lease.lease_id] = owner
        self._in_use[lease.account_id] += 1
        self._creating[lease.account_id] += 1
        self._by_key[lease.api_key_id] += 1
        self._last_granted[lease.account_id] = max(lease.epoch, self.last_granted(lease.account_id))
        self._tell(lease.account_id)

    def _forget(self, owner: ReplicaId, lease: Lease) -> None:
        holder = self._holders[owner]
        self._begin(holder, lease)
        del holder.leases[lease.lease_id]
        del self._owner_of[lease.lease_id]
        less(self._in_use, lease.account_id)
        less(self._by_key, lease.api_key_id)
        self._tell(lease.account_id)

    def _begin(self, holder: Holder, lease: Lease) -> None:
        if lease.lease_id in holder.creating:
            holder.creating.discard(lease.lease_id)
            less(self._creating, lease.account_id)
            self._tell(lease.account_id)

    def _tell(self, account_id: AccountId) -> None:
        for listener in self._listeners:
            listener(account_id)


K = TypeVar("K", bound=str)


def less(counter: Counter[K], key: K) -> None:
    """One less; nothing is kept of what nobody holds any more."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]

"""Soft state of a single control replica, in its memory. Nothing here outlives the process, and nothing needs to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease


@dataclass(slots=True)
class Holder:
    """A gateway and what it holds."""

    alive_until: datetime
    leases: dict[LeaseId, Lease] = field(default_factory=dict)


class MemoryLeases:
    """The Leases port for one control replica. Every method runs to its end without waiting, so each is atomic."""

    def __init__(self, *, ttl_s: float) -> None:
        self._ttl = timedelta(seconds=ttl_s)
        self._holders: dict[ReplicaId, Holder] = {}
        self._owner_of: dict[LeaseId, ReplicaId] = {}
        self._in_use: Counter[AccountId] = Counter()
        self._freed = asyncio.Event()

    def in_use(self, account_id: AccountId) -> int:
        """Stream slots taken on an account."""
        return self._in_use[account_id]

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

    async def take(self, lease: Lease, owner: ReplicaId, *, slots: int) -> bool:
        """Takes a slot, or says that there is none."""
        if slots and self._in_use[lease.account_id] >= slots:
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
        if undelivered:
            self._announce_freed()
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
        self._announce_freed()
        return lease

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:
        """A gateway was heard."""
        holder = self._holders.get(owner)
        if holder is None:
            self._holders[owner] = Holder(alive_until=now + self._ttl)
            return False
        holder.alive_until = now + self._ttl
        return True

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
        if lapsed:
            self._announce_freed()
        return lapsed

    async def wait_freed(self, *, timeout_s: float) -> bool:
        """Waits until some slot is freed."""
        freed = self._freed
        try:
            async with asyncio.timeout(timeout_s):
                await freed.wait()
        except TimeoutError:
            return False
        return True

    def _remember(self, lease: Lease, owner: ReplicaId) -> None:
        # A grant to a gateway never heard of would have no end: its TTL starts with the grant.
        holder = self._holders.setdefault(owner, Holder(alive_until=lease.granted_at + self._ttl))
        holder.leases[lease.lease_id] = lease
        self._owner_of[lease.lease_id] = owner
        self._in_use[lease.account_id] += 1

    def _forget(self, owner: ReplicaId, lease: Lease) -> None:
        del self._holders[owner].leases[lease.lease_id]
        del self._owner_of[lease.lease_id]
        self._in_use[lease.account_id] -= 1
        if not self._in_use[lease.account_id]:
            del self._in_use[lease.account_id]

    def _announce_freed(self) -> None:
        self._freed.set()
        self._freed = asyncio.Event()

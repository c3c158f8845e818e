"""Soft state of a single control replica, in its memory. Nothing here outlives the process, and nothing needs to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from codex_lb.control.coordination.lease_counts import LeaseCounts, held
from codex_lb.control.domain.ids import LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease


class MemoryLeases(LeaseCounts):
    """The Leases port for one control replica. Every method runs to its end without waiting, so each is atomic."""

    def __init__(self, *, ttl_s: float) -> None:
        super().__init__()
        self._ttl = timedelta(seconds=ttl_s)
        self._alive_until: dict[ReplicaId, datetime] = {}
        self._known: set[ReplicaId] = set()  # heard since they last lapsed; a grant alone makes nobody known
        self._leases: dict[LeaseId, Lease] = {}

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Memory is lost with the process, and the gateways' streams with it; nobody needs to be told."""

    async def take(
        self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0, key_slots: int = 0
    ) -> bool:
        """Takes a slot, or says that there is none."""
        if key_slots and self.held_by_key(lease.api_key_id) >= key_slots:
            return False
        if slots and self.in_use(lease.account_id) >= slots:
            return False
        if create_slots and self.creating(lease.account_id) >= create_slots:
            return False
        self._remember(lease, owner, is_creating=True)
        return True

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for what it holds: restores what was lost here, frees what was lost on the way."""
        announced = {lease.lease_id for lease in held}
        undelivered = [self._forget(one) for one in self.leases_of(owner) if one not in announced]
        for lease in held:
            if lease.lease_id not in self._leases:
                self._remember(lease, owner, is_creating=False)  # begun long ago, as likely as not
        return undelivered

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Frees the slot. A fence that is not the lease's own ends nothing."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.epoch != epoch:
            return None
        return self._forget(lease_id)

    async def begun(self, lease_ids: Sequence[LeaseId]) -> None:
        """Upstream has begun to answer these."""
        for lease_id in lease_ids:
            self.begin(lease_id)

    async def renew(self, owner: ReplicaId, *, now: datetime) -> bool:
        """A gateway was heard."""
        self._alive_until[owner] = now + self._ttl
        was_known = owner in self._known
        self._known.add(owner)
        return was_known

    async def lapse(self, *, now: datetime) -> list[Lease]:
        """Removes what silent gateways held."""
        silent = [owner for owner, until in self._alive_until.items() if until <= now]
        lapsed = [self._forget(lease_id) for owner in silent for lease_id in self.leases_of(owner)]
        for owner in silent:
            del self._alive_until[owner]
            self._known.discard(owner)
        return lapsed

    def _remember(self, lease: Lease, owner: ReplicaId, *, is_creating: bool) -> None:
        # A grant to a gateway never heard of would have no end: its TTL starts with the grant.
        self._alive_until.setdefault(owner, lease.granted_at + self._ttl)
        self._leases[lease.lease_id] = lease
        self.taken(held(lease, owner), is_creating=is_creating)

    def _forget(self, lease_id: LeaseId) -> Lease:
        self.freed(lease_id)
        return self._leases.pop(lease_id)

"""Soft state of a single control replica, in its memory. Nothing here outlives the process, and nothing needs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from codex_lb.control.coordination.budgets import MemoryBudgets
from codex_lb.control.coordination.lease_counts import LeaseCounts, held
from codex_lb.control.domain.ids import LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease
from codex_lb.control.usecases.lease_ports import FREE, Ending, NoSlot, Taking, Terms
from codex_lb.control.usecases.limit_ports import KeyUse

TOLD_AGAIN = timedelta(seconds=10)  # what lapsed, until it is told to be recorded
MISSED_FOR = timedelta(seconds=3)  # what a gateway did not announce, until its reservation is given back


@dataclass(slots=True)
class Loose:
    """A lease whose slot is free already, and whose end is not known."""

    lease: Lease
    has_lapsed: bool  # else its gateway did not announce it
    due_at: datetime | None = None  # None: as soon as somebody looks


class MemoryLeases(LeaseCounts):
    """The Leases port for one control replica. Every method runs to its end without waiting, so each is atomic."""

    def __init__(self, *, ttl_s: float) -> None:
        super().__init__()
        self.budgets = MemoryBudgets()
        self._ttl = timedelta(seconds=ttl_s)
        self._alive_until: dict[ReplicaId, datetime] = {}
        self._known: set[ReplicaId] = set()  # heard since they last lapsed; a grant alone makes nobody known
        self._leases: dict[LeaseId, Lease] = {}
        self._loose: dict[LeaseId, Loose] = {}

    def on_loss(self, listener: Callable[[], None]) -> None:
        """Memory is lost with the process, and the gateways' streams with it; nobody needs to be told."""

    async def take(
        self, lease: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0, terms: Terms = FREE
    ) -> Taking:
        """Takes a slot and what the terms say, or says why not."""
        lacking = self.budgets.lacking(terms.reserving, lease.granted_at)
        if lacking is not None:
            return lacking
        if terms.slots and self.held_by_key(lease.api_key_id) >= terms.slots:
            return NoSlot()
        if slots and self.in_use(lease.account_id) >= slots:
            return NoSlot()
        if create_slots and self.creating(lease.account_id) >= create_slots:
            return NoSlot()
        if lease.api_key_id:
            reservation = self.budgets.reserve(lease.lease_id, lease.api_key_id, terms.reserving)
            granted_at = max([lease.granted_at, *(one.window_started_at for one in reservation)])
            lease = replace(lease, reservation=reservation, granted_at=granted_at)
        self._remember(lease, owner, is_creating=True)
        return lease

    async def reconcile(self, owner: ReplicaId, held: Sequence[Lease]) -> list[Lease]:
        """Takes a gateway's word for what it holds: restores what was lost here, frees what was lost on the way."""
        announced = {lease.lease_id for lease in held}
        undelivered = [self._forget(one) for one in self.leases_of(owner) if one not in announced]
        for lease in undelivered:
            if lease.api_key_id:
                self._loose[lease.lease_id] = Loose(lease, has_lapsed=False)
            else:
                self._release(lease)
        for lease in held:
            if lease.lease_id not in self._leases:
                self._release(lease)
                self.budgets.restore(lease)
                self._remember(lease, owner, is_creating=False)  # begun long ago, as likely as not
        return undelivered

    async def end(self, lease_id: LeaseId, *, epoch: int) -> Lease | None:
        """Frees all that it has. A fence that is not the lease's own ends nothing."""
        lease = self._leases.get(lease_id)
        if lease is None or lease.epoch != epoch:
            return None
        self._release(lease)
        return self._forget(lease_id)

    async def settle(self, endings: Sequence[Ending], *, now: datetime) -> Sequence[KeyUse]:
        """Frees slots, and counts what leases used."""
        touched: dict[str, Ending] = {}
        for ending in endings:
            lease = self._leases.get(ending.lease.lease_id)
            loose = self._loose.get(ending.lease.lease_id)
            if lease is not None and lease.epoch != ending.lease.epoch:
                continue
            if lease is not None or loose is not None:
                if lease is not None:
                    self._forget(lease.lease_id)
                # What lapsed is told again until it is recorded, or its gateway comes back with the truth.
                self._release(ending.lease, keeps_loose=not ending.is_final)
            if ending.spent is not None:
                was_known = lease is not None or loose is not None
                self.budgets.settle(ending, ending.spent, now, was_known=was_known)
                touched[ending.lease.api_key_id] = ending
        return [self.budgets.use_after(x, x.spent, now) for x in touched.values() if x.spent is not None]

    async def recorded(self, ended: Iterable[tuple[LeaseId, bool]], *, now: datetime) -> None:
        """The ledger has these."""
        for lease_id, is_final in ended:
            if not is_final:
                self._loose.pop(lease_id, None)
            self.budgets.stored(lease_id, now, is_final=is_final)

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
        lapsed += self._due(now)
        for lease in lapsed:
            self._loose[lease.lease_id] = Loose(lease, has_lapsed=True, due_at=now + TOLD_AGAIN)
        return lapsed

    def _due(self, now: datetime) -> list[Lease]:
        """What lapsed and was never told to be recorded; what was missed for long is given up."""
        due: list[Lease] = []
        for loose in list(self._loose.values()):
            loose.due_at = loose.due_at or now + MISSED_FOR
            if loose.due_at > now:
                continue
            if loose.has_lapsed:
                due.append(loose.lease)
            else:  # a control that was killed may have recorded its end all the same
                self._release(loose.lease)
                self.budgets.uncount_for(loose.lease)
        return due

    def _remember(self, lease: Lease, owner: ReplicaId, *, is_creating: bool) -> None:
        # A grant to a gateway never heard of would have no end: its TTL starts with the grant.
        self._alive_until.setdefault(owner, lease.granted_at + self._ttl)
        self._leases[lease.lease_id] = lease
        self.taken(held(lease, owner), is_creating=is_creating)

    def _forget(self, lease_id: LeaseId) -> Lease:
        self.freed(lease_id)
        return self._leases.pop(lease_id)

    def _release(self, lease: Lease, *, keeps_loose: bool = False) -> None:
        self.budgets.release(lease)
        if not keeps_loose:
            self._loose.pop(lease.lease_id, None)

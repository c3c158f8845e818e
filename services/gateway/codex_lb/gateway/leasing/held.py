"""Holding a lease: whatever happens inside, it is settled on the way out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from codex_lb.gateway.leasing.lease import Lease, LeaseEnd, Timings, TurnEnd, Wanted
from codex_lb.gateway.outcome import Abandoned, Blame, Broken, Fault
from codex_lb.kit.clock import Clock


class Leases(Protocol):
    """Where leases come from and what becomes of them."""

    async def acquire(self, wanted: Wanted) -> Lease:
        """A lease. Raises LeaseRefusedError, or ControlUnavailableError when control does not answer in time."""
        ...

    def begun(self, lease: Lease) -> None:
        """Upstream begins to answer. Returns at once."""
        ...

    def settle(self, lease: Lease, end: LeaseEnd) -> None:
        """Ends a lease. Returns at once."""
        ...

    def report(self, end: TurnEnd) -> None:
        """Adds a line to the request log. Returns at once."""
        ...


class Holding:
    """A lease in use; `end` is what will be said of it."""

    def __init__(self, lease: Lease, end: LeaseEnd, leases: Leases) -> None:
        self.lease = lease
        self.end = end
        self._leases = leases
        self._is_to_tell = lease.is_creating_limited

    def begun(self) -> None:
        """Upstream begins to answer; control is told once, where it wants to know."""
        self.end.has_begun = True
        if self._is_to_tell:
            self._is_to_tell = False
            self._leases.begun(self.lease)


@asynccontextmanager
async def held(leases: Leases, wanted: Wanted, clock: Clock) -> AsyncIterator[Holding]:
    """A lease for the time of the block. Raises what `Leases.acquire` raises.

    A block that is cancelled (the client hung up) settles as abandoned, one that fails as our own fault; settling waits
    for nothing, so a cancellation cannot interrupt it.
    """
    lease = await leases.acquire(wanted)
    holding = Holding(lease, LeaseEnd(Abandoned(), Timings(), clock.now(), calls=0), leases)
    try:
        yield holding
    except Exception:
        holding.end.outcome = Broken(Fault("internal_error", Blame.US, "The gateway failed"))
        raise
    finally:
        holding.end.ended_at = clock.now()
        leases.settle(lease, holding.end)

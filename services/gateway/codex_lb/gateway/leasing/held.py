"""Holding a lease: whatever happens inside, it is settled on the way out."""

from __future__ import annotations

from types import TracebackType
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

    def calls(self) -> None:
        """Upstream is called; what an earlier call under the lease came to says nothing of this one."""
        self.end.calls += 1
        self.end.has_begun = False

    def begun(self) -> None:
        """Upstream begins to answer; control is told once, where it wants to know."""
        self.end.has_begun = True
        if self._is_to_tell:
            self._is_to_tell = False
            self._leases.begun(self.lease)


class held:  # noqa: N801 - read as `async with held(…)`; as a generator it costs three times as much
    """A lease for the time of the block. Raises what `Leases.acquire` raises.

    A block that is cancelled (the client hung up) settles as abandoned, one that fails as our own fault; settling waits
    for nothing, so a cancellation cannot interrupt it.
    """

    def __init__(self, leases: Leases, wanted: Wanted, clock: Clock) -> None:
        self._leases = leases
        self._wanted = wanted
        self._clock = clock

    async def __aenter__(self) -> Holding:
        lease = await self._leases.acquire(self._wanted)
        self._holding = Holding(lease, LeaseEnd(Abandoned(), Timings(), self._clock.now(), calls=0), self._leases)
        self._lease = lease
        return self._holding

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end = self._holding.end
        if isinstance(error, Exception):
            end.outcome = Broken(Fault("internal_error", Blame.US, "The gateway failed"))
        end.ended_at = self._clock.now()
        self._leases.settle(self._lease, end)

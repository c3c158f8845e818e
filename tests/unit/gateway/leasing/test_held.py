"""A lease in use."""

from __future__ import annotations

from datetime import UTC, datetime

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.leasing.held import Holding
from codex_lb.gateway.leasing.lease import Lease, LeaseEnd, Timings, TurnEnd, Wanted
from codex_lb.gateway.outcome import Abandoned

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Untold:
    """Leases of which nobody wants to know anything."""

    async def acquire(self, wanted: Wanted) -> Lease:
        raise AssertionError(wanted)

    def begun(self, lease: Lease) -> None:
        raise AssertionError(lease)

    def settle(self, lease: Lease, end: LeaseEnd) -> None:
        raise AssertionError(lease, end)

    def report(self, end: TurnEnd) -> None:
        raise AssertionError(end)


def test_what_upstream_began_to_answer_before_says_nothing_of_a_call_that_it_leaves_unanswered() -> None:
    lease = Lease("lease", "a", "chatgpt-a", "token", pb.HeldLease(lease_id="lease"))
    holding = Holding(lease, LeaseEnd(Abandoned(), Timings(), NOON, calls=0), Untold())

    holding.calls()
    holding.begun()  # a 500
    has_begun_first = holding.end.has_begun
    holding.calls()  # on the same account

    assert (has_begun_first, holding.end.has_begun, holding.end.calls) == (True, False, 2)

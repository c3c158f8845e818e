"""Where upstream failed turns lately, for a control that has lost its memory: told with the hello."""

from __future__ import annotations

from collections import deque

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.leasing.wire import read_span, span

KEPT_S = (
    600.0  # control goes by how long attempts lasted: what is longer ago than one of these concerns hardly any turn
)
FAILURES_MAX = 1000  # about 100 KB in the hello; more is an outage, and nobody is better off elsewhere
OF_ACCOUNTS = frozenset({pb.BLAME_ACCOUNT, pb.BLAME_MODEL, pb.BLAME_UPSTREAM})


class RecentFailures:
    """What was told of them already, by the settlements. `now` is of the monotonic clock."""

    def __init__(self) -> None:
        self._failed: deque[tuple[float, pb.Settlement]] = deque(maxlen=FAILURES_MAX)  # the oldest first

    def note(self, settlement: pb.Settlement, *, now: float) -> None:
        """Keeps it if upstream failed the turn."""
        if settlement.failed_affinity_keys or settlement.fault.blame in OF_ACCOUNTS:
            self._failed.append((now, settlement))

    def told(self, *, now: float) -> list[pb.RecentFailure]:
        """What is to be told now, the oldest first."""
        while self._failed and self._failed[0][0] < now - KEPT_S:
            self._failed.popleft()
        return [
            pb.RecentFailure(
                affinity_keys=settlement.failed_affinity_keys,
                account_id=settlement.lease.account_id,
                ago=span(now - at),
                lasted=span(max(0.0, read_span(settlement.timings.total) - read_span(settlement.timings.leased))),
            )
            for at, settlement in self._failed
        ]

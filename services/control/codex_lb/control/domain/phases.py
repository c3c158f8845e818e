"""Where a turn's time went. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codex_lb.control.domain.lease import Settlement, Timings


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds, one part after another; None where it was not reached."""

    queue_s: float | None
    lease_s: float | None
    connect_s: float | None
    first_byte_s: float | None
    first_output_s: float | None
    answer_s: float | None
    total_s: float | None


def phases_of(timings: Timings, attempts: Iterable[Settlement]) -> Phases:
    """The parts between the instants that were noted. Their sum is the total, but for rounding."""
    queue_s = sum(attempt.lease.decision.waited_s for attempt in attempts)
    leased_s = timings.leased_s
    return Phases(
        queue_s=min(queue_s, leased_s) if leased_s is not None else None,
        lease_s=max(0.0, leased_s - queue_s) if leased_s is not None else None,
        connect_s=_between(leased_s, timings.dispatched_s),
        first_byte_s=_between(timings.dispatched_s, timings.first_byte_s),
        first_output_s=_between(timings.first_byte_s, timings.first_output_s),
        answer_s=_between(timings.first_output_s, timings.total_s),
        total_s=timings.total_s,
    )


def _between(start_s: float | None, end_s: float | None) -> float | None:
    return max(0.0, end_s - start_s) if start_s is not None and end_s is not None else None

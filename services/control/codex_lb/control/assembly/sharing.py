"""What several controls share through Redis, and a single one keeps in its memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from codex_lb.control.assembly.timing import Timing
from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.usecases.event_ports import Events
from codex_lb.control.usecases.follow_others import TakeIn
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.limit_ports import Budgets
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id


@dataclass(frozen=True, slots=True)
class Sharing:
    """The coordination of one control, alone or among several."""

    leases: Leases
    budgets: Budgets
    continuities: MemoryContinuities
    tickets: MemoryTickets
    events: Events | None = None  # where there are others
    told: TakeIn | None = None  # of conversations and tickets


def kept_alone(clock: Clock, timing: Timing, term: int) -> Sharing:
    """Known to this control alone."""
    tickets = MemoryTickets(term=term, new_ticket_id=partial(new_id, "ticket"), ttl_s=timing.ticket_ttl_s)
    leases = MemoryLeases(ttl_s=timing.lease_ttl_s)
    return Sharing(leases, leases.budgets, MemoryContinuities(clock), tickets)


def announcing_s(leases: Leases, timing: Timing, term: int) -> float:
    """How long this control waits for gateways to announce what an earlier one granted.

    At the very first start there are none. A table that is shared outlives this control, and says itself when it is open.
    """
    return timing.reannounce_grace_s if term > 1 and isinstance(leases, MemoryLeases) else 0.0

"""What is known of a key that spends, by a model that forgets nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from codex_lb.control.domain.ids import LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease, Settlement
from codex_lb.control.domain.limit import Limit, LimitUnit, fits
from codex_lb.control.usecases.limit_ports import BudgetUse


@dataclass(eq=False)
class Gateway:
    """What a gateway knows."""

    replica_id: ReplicaId
    held: dict[LeaseId, Lease] = field(default_factory=dict)
    unacknowledged: dict[LeaseId, Settlement] = field(default_factory=dict)
    is_silent: bool = False
    place: int = 0  # of the control that it is attached to


@dataclass
class Fact:
    """What the model knows of a lease."""

    lease: Lease
    owner: ReplicaId
    used: int | None = None  # tokens, once it has ended
    is_held: bool = True
    is_known: bool = True  # by the counters; what they have lost comes back with its gateway
    is_counted: bool = False  # as one that has ended, because its key had limits then
    is_committed: bool = False  # the ledger has the truth
    is_guessed: bool = False  # the ledger has it as abandoned
    is_lapsed: bool = False  # and somebody was told
    missed_at: datetime | None = None

    def end(self, tokens: int) -> None:
        """The truth is known and in the ledger."""
        self.used, self.is_held, self.is_known, self.is_committed = tokens, False, True, True


def use_of(facts: Iterable[Fact], limit: Limit, now: datetime) -> BudgetUse:
    """How a limit stands, summed up from everything."""
    since = limit.counts_since(now)
    used = reserved = 0
    for fact in facts:
        amount = next((one for one in fact.lease.reservation if one.limit_id == limit.limit_id), None)
        if fact.is_held and fact.is_known:
            is_of_window = amount is not None and amount.window_started_at == since
            reserved += amount.amount if amount is not None and is_of_window else 0
        elif fact.lease.granted_at < since:
            continue
        elif fact.used is not None and (fact.is_known or fact.is_committed):
            used += 1 if limit.unit is LimitUnit.REQUESTS else fact.used
        elif fact.is_guessed and amount is not None:
            used += amount.amount
    return BudgetUse(used, reserved)


def has_room(tokens: int, uses: Iterable[tuple[Limit, BudgetUse]]) -> bool:
    """Whether limits that stand so have room for a turn that may use so many tokens."""
    return all(
        fits(
            1 if limit.unit is LimitUnit.REQUESTS else tokens,
            used=use.used,
            reserved=use.reserved,
            amount_max=limit.amount_max,
        )
        for limit, use in uses
    )

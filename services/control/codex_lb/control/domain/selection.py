"""Decides which account serves a turn. Pure: no clock, no I/O, no logging, randomness comes in as a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.account import AccountStatus, RoutingPolicy
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import PASSED_OVER_SHOWN, Decision, PassedOver
from codex_lb.control.domain.settings import Strategy

PRESSURE_PERCENT_PER_STREAM = 2.5  # what a running turn counts for before its usage is known


LEAVE_SHORT_PERCENT = 95.0  # data-plane reference 4.7: a conversation leaves above these, if another account is below
LEAVE_LONG_PERCENT = 100.0

STOPPED = "stop_threshold"  # the objection against an account that its operator spares
POLICY_ORDER = {RoutingPolicy.BURN_FIRST: 0, RoutingPolicy.NORMAL: 1, RoutingPolicy.PRESERVE: 2}


AT_RATE = "at_rate_limit"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account as selection sees it."""

    account_id: AccountId
    status: AccountStatus
    until: datetime | None  # when the status ends by itself
    is_probing: bool
    offers_model: bool
    long_used_percent: float  # of the weekly (or monthly) window
    short_used_percent: float  # of the 5 h window
    long_capacity: float  # credits
    in_use: int
    slots: int  # 0 for no limit
    is_at_rate: bool = False  # refused for going too fast, not for want of quota
    probes: int = 0  # turns that try whether it serves again, while it is being probed
    long_resets_at: datetime | None = None
    short_resets_at: datetime | None = None
    priority: int = 0
    routing_policy: RoutingPolicy = RoutingPolicy.NORMAL
    stop_percent: float | None = None  # None: its windows may be used up


@dataclass(frozen=True, slots=True)
class Choice:
    """The account chosen, if any, and how that came about."""

    account_id: AccountId | None
    decision: Decision
    is_busy: bool  # nothing but slots stood in the way: waiting may help
    retry_at: datetime | None  # when the first account returns


def choose(
    candidates: Iterable[Candidate],
    *,
    excluded: Mapping[AccountId, str],
    strategy: Strategy,
    random: float,
    preferred: AccountId | None = None,
    is_bound: bool = False,
    reason: str = "",
) -> Choice:
    """The account that serves, by the strategy, among those nothing speaks against.

    The preferred account is taken whenever it can serve, unless it is nearly spent and somebody else is not; a bound
    turn takes nobody else. `reason` says in the record why it is preferred. `random` is in [0, 1).
    Accounts passed over are named with their reason, the first few one by one.
    """
    eligible: list[Candidate] = []
    passed: list[PassedOver] = []
    counts: Counter[str] = Counter()
    retry_at: datetime | None = None
    total = 0
    for candidate in candidates:
        total += 1
        against = "not_owner" if is_bound and candidate.account_id != preferred else objection(candidate, excluded)
        if against is None:
            eligible.append(candidate)
            continue
        counts[against] += 1
        until = stopped_until(candidate) if against == STOPPED else candidate.until
        if against != "not_owner" and until is not None and (retry_at is None or until < retry_at):
            retry_at = until
        if len(passed) < PASSED_OVER_SHOWN:
            passed.append(PassedOver(candidate.account_id, against, until))
    wished = next((c for c in eligible if c.account_id == preferred), None)
    if wished is not None and not is_bound and is_nearly_spent(wished):
        wished = wished if all(is_nearly_spent(c) for c in eligible) else None
    chosen = wished or (by_capacity(foremost(eligible), random) if eligible else None)
    return Choice(
        account_id=chosen.account_id if chosen else None,
        decision=Decision(strategy.value, reason if wished else "", total, len(eligible), tuple(passed), dict(counts)),
        is_busy=chosen is None and bool(counts.keys() & {"no_slot", "probing"}),
        retry_at=retry_at,
    )


def objection(candidate: Candidate, excluded: Mapping[AccountId, str]) -> str | None:
    """Why an account cannot serve this turn now; None if it can."""
    if candidate.status is not AccountStatus.ACTIVE:
        return AT_RATE if candidate.is_at_rate else candidate.status.value
    if is_stopped(candidate):
        return STOPPED
    if candidate.account_id in excluded:
        return f"left:{excluded[candidate.account_id]}"
    if not candidate.offers_model:
        return "model_not_offered"
    if candidate.is_probing and candidate.probes:
        return "probing"
    if candidate.slots and candidate.in_use >= candidate.slots:
        return "no_slot"
    return None


def is_nearly_spent(candidate: Candidate) -> bool:
    """Whether a conversation is better off elsewhere although its cache must be read again there."""
    return candidate.short_used_percent > LEAVE_SHORT_PERCENT or candidate.long_used_percent >= LEAVE_LONG_PERCENT


def is_stopped(candidate: Candidate) -> bool:
    """Whether a window has reached the share from which on the operator spares the account."""
    used = max(candidate.long_used_percent, candidate.short_used_percent)
    return candidate.stop_percent is not None and used >= candidate.stop_percent


def stopped_until(candidate: Candidate) -> datetime | None:
    """When the last of the windows that stop it starts anew; None where upstream did not say."""
    windows = (
        (candidate.long_used_percent, candidate.long_resets_at),
        (candidate.short_used_percent, candidate.short_resets_at),
    )
    stopping = [at for used, at in windows if candidate.stop_percent is not None and used >= candidate.stop_percent]
    known = [at for at in stopping if at is not None]
    return max(known) if known and len(known) == len(stopping) else None


def foremost(eligible: Sequence[Candidate]) -> Sequence[Candidate]:
    """Those of the highest priority; among them those whose routing policy comes first."""
    first = min((-c.priority, POLICY_ORDER[c.routing_policy]) for c in eligible)
    return [c for c in eligible if (-c.priority, POLICY_ORDER[c.routing_policy]) == first]


def by_capacity(eligible: Sequence[Candidate], random: float) -> Candidate:
    """A draw weighted by the credits left in the long window; without any, the least used account."""
    weights = [weight(c) for c in eligible]
    mark = random * sum(weights)
    if mark <= 0 and not any(weights):
        return min(eligible, key=lambda c: (c.long_used_percent, c.short_used_percent, c.in_use, c.account_id))
    for candidate, share in zip(eligible, weights, strict=True):
        mark -= share
        if mark < 0:
            return candidate
    return eligible[-1]


def weight(candidate: Candidate) -> float:
    """Credits left in the long window, less what running turns will take; none when the short window is full."""
    if candidate.short_used_percent >= 100:
        return 0.0
    used = candidate.long_used_percent + PRESSURE_PERCENT_PER_STREAM * candidate.in_use
    return candidate.long_capacity * max(0.0, 100.0 - used) / 100.0

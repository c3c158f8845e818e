"""An account as selection sees it, and what of it speaks against a turn. Pure."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from codex_lb.control.domain.account import AccountStatus, RoutingPolicy
from codex_lb.control.domain.ids import AccountId

LEAVE_SHORT_PERCENT = 95.0  # data-plane reference 4.7: a conversation leaves above these, if another account is below
LEAVE_LONG_PERCENT = 100.0
DRAIN_SHORT_PERCENT = 85.0  # data-plane reference 4.5: from these on an account serves when no fuller one can
DRAIN_LONG_PERCENT = 90.0

AT_RATE = "at_rate_limit"
STOPPED = "stop_threshold"  # an account that its operator spares
NO_SLOT = "no_slot"
PROBING = "probing"
NOT_OFFERED = "model_not_offered"
NOT_IN_SCOPE = "not_in_scope"
NOT_OWNER = "not_owner"
KEY_BUSY = "key_busy"  # the turn's API key runs as many turns as it may, so nobody could serve it
PASSING = frozenset({NO_SLOT, PROBING})  # what ends when a turn does


class Candidate(Struct, frozen=True):
    """An account as selection sees it."""

    account_id: AccountId
    status: AccountStatus
    until: datetime | None  # when the status ends by itself
    is_probing: bool
    plan: str
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
    creating: int = 0  # turns that upstream has not begun to answer
    create_slots: int = 0  # 0 for no limit
    last_chosen: int = 0  # rises with every grant; 0 for an account that was never chosen

    @property
    def is_nearly_spent(self) -> bool:
        """Whether a conversation is better off elsewhere although its cache must be read again there."""
        return self.short_used_percent > LEAVE_SHORT_PERCENT or self.long_used_percent >= LEAVE_LONG_PERCENT

    @property
    def is_draining(self) -> bool:
        """Whether it is spared while others have more room. What is to be burnt first is not spared."""
        if self.routing_policy is RoutingPolicy.BURN_FIRST:
            return False
        return self.short_used_percent >= DRAIN_SHORT_PERCENT or self.long_used_percent >= DRAIN_LONG_PERCENT

    @property
    def is_stopped(self) -> bool:
        """Whether a window has reached the share from which on the operator spares the account."""
        used = max(self.long_used_percent, self.short_used_percent)
        return self.stop_percent is not None and used >= self.stop_percent

    @property
    def returns_at(self) -> datetime | None:
        """When what keeps it out ends by itself; None where nobody knows, or nothing does."""
        if self.status is not AccountStatus.ACTIVE:
            return self.until
        return self._stopped_until if self.is_stopped else None

    @property
    def _stopped_until(self) -> datetime | None:
        windows = (
            (self.long_used_percent, self.long_resets_at),
            (self.short_used_percent, self.short_resets_at),
        )
        stopping = [at for used, at in windows if self.stop_percent is not None and used >= self.stop_percent]
        known = [at for at in stopping if at is not None]
        return max(known) if known and len(known) == len(stopping) else None


def lasting_objection(candidate: Candidate) -> str | None:
    """What keeps an account from serving anybody, and does not end with a turn."""
    if candidate.status is not AccountStatus.ACTIVE:
        return AT_RATE if candidate.is_at_rate else candidate.status.value
    return STOPPED if candidate.is_stopped else None


def passing_objection(candidate: Candidate) -> str | None:
    """What keeps an account from serving one turn more, and ends when one of its turns does."""
    if candidate.is_probing and candidate.probes:
        return PROBING
    if candidate.slots and candidate.in_use >= candidate.slots:
        return NO_SLOT
    if candidate.create_slots and candidate.creating >= candidate.create_slots:
        return NO_SLOT
    return None

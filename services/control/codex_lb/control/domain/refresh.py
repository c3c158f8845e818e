"""Which refresh work is due: periodic, fenced, one ticket per account and kind at a time, spread over the period."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import CLOSED_CODES, LOGIN_CODES, Closed, Evidence, LoginRejected
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.window import Window

TICKET_TTL_S = 60.0  # longer than three tries of 10 s with their pauses
CLAIM_AHEAD_S = 5.0  # tickets are handed out this long before they are due, so that a claim covers several
CLAIM_AGAIN_S_MAX = 1.0  # an account that was just added waits no longer than this for its first usage
CLAIM_AGAIN_S_MIN = 0.1  # a worker asks no more often, however much is due


class TicketKind(StrEnum):
    """What a ticket is for."""

    USAGE = "usage"
    MODELS = "models"
    ROTATION = "rotation"
    PROBE = "probe"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Task:
    """What is done again and again: the usage of an account, the model list of a plan."""

    kind: TicketKind
    subject: str  # an account's id; for models a plan


@dataclass(frozen=True, slots=True)
class Ticket:
    """A worker's fenced claim on one task."""

    ticket_id: TicketId
    epoch: int  # rises with every ticket
    task: Task
    account_id: AccountId  # whose login it is done with
    worker_id: WorkerId
    due_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Periods:
    """How often each kind of task is done, in seconds; None: never."""

    usage_s: float | None = 60.0
    models_s: float | None = 300.0

    def of(self, kind: TicketKind) -> float | None:
        """The period of a kind; those that are not periodic have none."""
        return {TicketKind.USAGE: self.usage_s, TicketKind.MODELS: self.models_s}.get(kind)


@dataclass(frozen=True, slots=True)
class Refreshable:
    """An account as far as it matters for planning."""

    account_id: AccountId
    plan: str
    status: AccountStatus


@dataclass(frozen=True, slots=True)
class AdditionalQuota:
    """A quota beside the main one, such as that of a particular model."""

    limit_name: str
    metered_feature: str
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What a usage ticket found."""

    plan: str
    windows: tuple[Window, ...]
    additional_quotas: tuple[AdditionalQuota, ...]
    has_credits: bool
    credits_unlimited: bool
    credits_balance: str
    workspace_id: str
    reset_credits_available: int
    generation: int


@dataclass(frozen=True, slots=True)
class RotationReport:
    """What a rotation ticket found: the new pair."""

    access_token: str
    refresh_token: str
    id_token: str  # empty when the issuer sent none

    def __repr__(self) -> str:
        return "RotationReport(…)"  # tokens must not reach a log by way of a repr


@dataclass(frozen=True, slots=True)
class TicketFailure:
    """Why a ticket found nothing."""

    code: str
    status: int
    message: str
    is_transient: bool
    generation: int


# When these are due follows from the account as it stands, and moves with it.
MOVING_KINDS = frozenset({TicketKind.ROTATION})

# Upstream answers these with refusals until an operator or a new login changes that.
NOT_REFRESHED = frozenset({AccountStatus.PAUSED, AccountStatus.REAUTH_REQUIRED, AccountStatus.DEACTIVATED})


def speaker(task: Task, accounts: Iterable[Refreshable], *, turn: int) -> AccountId | None:
    """The account whose login a task is done with; None when nobody can.

    A plan's models are listed with another account each time, those in good standing first, so that one account which
    cannot list them does not keep its plan from being known.
    """
    if task.kind is not TicketKind.MODELS:
        return AccountId(task.subject)
    of_plan = [a for a in accounts if a.plan == task.subject and a.status not in NOT_REFRESHED]
    offered = [a for a in of_plan if a.status is AccountStatus.ACTIVE] or of_plan
    return offered[turn % len(offered)].account_id if offered else None


def evidence_of(failure: TicketFailure, *, observed_at: datetime) -> Evidence | None:
    """What a failed ticket says about the account's login; None when it says nothing lasting."""
    if failure.code in CLOSED_CODES:
        return Closed(failure.generation, failure.code, observed_at)
    if failure.code in LOGIN_CODES or failure.status == 401:
        return LoginRejected(failure.generation, failure.code, observed_at)
    return None


def first_due(subject: str, *, period_s: float, now: datetime, is_urgent: bool) -> datetime:
    """When what was never refreshed is first due: at once if urgent, else at its own point of the period."""
    if is_urgent:
        return now
    return now + timedelta(seconds=phase(subject) * period_s)


def next_due(last_due: datetime, *, period_s: float, now: datetime) -> datetime:
    """The next time: whole periods after the last one, so that the spread over the period is kept."""
    periods = max(1, int((now - last_due).total_seconds() // period_s) + 1)
    return last_due + timedelta(seconds=periods * period_s)


def claim_again_in(due_at: datetime | None, *, now: datetime) -> float:
    """Seconds after which it is worth asking for tickets again, given when the next one is due."""
    if due_at is None:
        return CLAIM_AGAIN_S_MAX
    until_offered_s = (due_at - now).total_seconds() - CLAIM_AHEAD_S
    return min(max(until_offered_s, CLAIM_AGAIN_S_MIN), CLAIM_AGAIN_S_MAX)


def phase(subject: str) -> float:
    """A fixed number in [0, 1) per subject; spreads them evenly over a period without any coordination."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4]) / 2**32

"""Which refresh work is due: periodic, fenced, one ticket per account and kind at a time, spread over the period."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.window import Window

TICKET_TTL_S = 60.0  # longer than three tries of 10 s with their pauses


class TicketKind(StrEnum):
    """What a ticket is for."""

    USAGE = "usage"
    MODELS = "models"
    ROTATION = "rotation"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Ticket:
    """A worker's fenced claim on one task of one account."""

    ticket_id: TicketId
    epoch: int
    kind: TicketKind
    account_id: AccountId
    worker_id: WorkerId
    expires_at: datetime


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
class TicketFailure:
    """Why a ticket found nothing."""

    code: str
    status: int
    message: str
    is_transient: bool
    generation: int


def first_due(account_id: AccountId, *, period_s: float, now: datetime, is_urgent: bool) -> datetime:
    """When an account that was never refreshed is first due: at once if urgent, else at its own point of the period."""
    if is_urgent:
        return now
    return now + timedelta(seconds=phase(account_id) * period_s)


def next_due(last_due: datetime, *, period_s: float, now: datetime) -> datetime:
    """The next turn of an account: whole periods after the last one, so that the spread over the period is kept."""
    periods = max(1, int((now - last_due).total_seconds() // period_s) + 1)
    return last_due + timedelta(seconds=periods * period_s)


def phase(account_id: AccountId) -> float:
    """A fixed number in [0, 1) per account; spreads accounts evenly over a period without any coordination."""
    return int.from_bytes(hashlib.sha256(account_id.encode()).digest()[:4]) / 2**32

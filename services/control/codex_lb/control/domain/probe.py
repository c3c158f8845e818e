"""What a probe shows: one small turn that was sent because an operator wants to know whether an account serves. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import (
    CLOSED_CODES,
    LOGIN_CODES,
    QUOTA_CODES,
    Closed,
    Evidence,
    LoginRejected,
    Reactivated,
    RefusalKind,
    Refused,
    Served,
)
from codex_lb.control.domain.refresh import TicketFailure

DEFAULT_MODEL = "gpt-5.5"  # asked while no list of the account's plan is known

REFUSAL_CODES = QUOTA_CODES | {"rate_limit_exceeded"}
REFUSAL_STATUSES = frozenset({402, 429})
# What upstream calls an access token that it does not take, beside the codes that end a login.
TOKEN_CODES = frozenset({"invalid_api_key", "invalid_authentication", "authentication_error", "token_revoked"})
# A model's trouble comes with the status of a refusal, and is none.
OVERLOAD_CODES = frozenset({"server_is_overloaded", "overloaded_error", "slow_down"})


class ProbeOutcome(StrEnum):
    """What a probe showed."""

    SERVED = "served"
    REFUSED = "refused"
    LOGIN_REJECTED = "login_rejected"
    CLOSED = "closed"
    UNDECIDED = "undecided"  # it failed for a reason that is not the account's


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """How the turn ended, as the worker saw it."""

    is_served: bool
    status: int
    code: str
    message: str
    resets_at: datetime | None
    took_s: float
    generation: int


def failed(failure: TicketFailure) -> ProbeReport:
    """A probe of which the worker says no more than that it failed."""
    return ProbeReport(
        is_served=False,
        status=failure.status,
        code=failure.code,
        message=failure.message,
        resets_at=None,
        took_s=0.0,
        generation=failure.generation,
    )


def why_not_probable(status: AccountStatus) -> str:
    """Why a probe makes no sense for an account that stands there; empty where it does."""
    match status:
        case AccountStatus.PAUSED:
            return "The account is paused, so nothing is sent on it. Resume it first."
        case AccountStatus.REAUTH_REQUIRED:
            return "Upstream does not take this account's login. Sign in again, or ask for new tokens first."
        case AccountStatus.DEACTIVATED:
            return "Upstream closed this account. Only a new login ends that."
        case AccountStatus.ACTIVE | AccountStatus.RATE_LIMITED | AccountStatus.QUOTA_EXCEEDED:
            return ""
        case _:
            assert_never(status)


def outcome_of(report: ProbeReport) -> ProbeOutcome:
    """The verdict: by code, and by status where the code says nothing."""
    if report.is_served:
        return ProbeOutcome.SERVED
    if report.code in CLOSED_CODES:
        return ProbeOutcome.CLOSED
    if report.code in REFUSAL_CODES:
        return ProbeOutcome.REFUSED
    if report.code in LOGIN_CODES | TOKEN_CODES or report.status == 401:
        return ProbeOutcome.LOGIN_REJECTED
    if report.status in REFUSAL_STATUSES and report.code not in OVERLOAD_CODES:
        return ProbeOutcome.REFUSED
    return ProbeOutcome.UNDECIDED


def evidence_of(report: ProbeReport, *, ended_at: datetime) -> Iterator[Evidence]:
    """What follows for the account. A turn that began after a refusal and was served ends what that imposed."""
    began_at = ended_at - timedelta(seconds=report.took_s)
    outcome = outcome_of(report)
    match outcome:
        case ProbeOutcome.SERVED:
            yield Served(began_at)
            yield Reactivated(began_at)
        case ProbeOutcome.REFUSED:
            kind = RefusalKind.QUOTA if report.code in QUOTA_CODES else RefusalKind.RATE
            yield Refused(kind, report.code, report.resets_at, ended_at)
        case ProbeOutcome.LOGIN_REJECTED:
            yield LoginRejected(report.generation, report.code, ended_at)
        case ProbeOutcome.CLOSED:
            yield Closed(report.generation, report.code, ended_at)
        case ProbeOutcome.UNDECIDED:
            pass
        case _:
            assert_never(outcome)


def summary_of(report: ProbeReport) -> str:
    """What a person is told."""
    outcome = outcome_of(report)
    match outcome:
        case ProbeOutcome.SERVED:
            return f"It served, in {report.took_s:.1f} s."
        case ProbeOutcome.REFUSED:
            until = f" until {report.resets_at:%Y-%m-%d %H:%M} UTC" if report.resets_at is not None else ""
            return f"Upstream refused it ({report.code}){until}."
        case ProbeOutcome.LOGIN_REJECTED:
            return f"Upstream does not take its login ({report.code}). Its tokens are rotated; sign in again if that fails."
        case ProbeOutcome.CLOSED:
            return f"Upstream closed the account ({report.code})."
        case ProbeOutcome.UNDECIDED:
            return f"{report.message[:1].upper()}{report.message[1:]}. That says nothing about the account."
        case _:
            assert_never(outcome)

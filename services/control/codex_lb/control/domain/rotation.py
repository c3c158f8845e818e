"""When an account's tokens are rotated, and what an exchange that went wrong leaves behind. Pure.

A refresh token works once; sent twice, it ends the login. So an exchange of which nobody knows whether it spent the
token is repeated only when there is nothing to lose: when the access token is rejected or about to end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.account import Account
from codex_lb.control.domain.evidence import CLOSED_CODES, LOGIN_CODES, Closed, Evidence, LoginRejected, Record
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import TicketFailure

AHEAD_OF_EXPIRY = timedelta(minutes=30)  # a rotation that fails has time for several more
AHEAD_OF_EXPIRY_SHARE = 0.2  # of the token's life, where it is a short one
EXPIRY_AGAIN = timedelta(
    minutes=1
)  # a token that ends as soon as it is issued (a wrong clock) is not rotated in a loop
# A worker that could not tell control what it got offers it for ten minutes after its ticket lapsed.
SETTLES_WITHIN = timedelta(minutes=15)
REMEMBERED = timedelta(hours=2)  # twice the longest pause between two rotations that were in vain

FAILED_FIRST = timedelta(seconds=30)  # the issuer was away or overloaded
IN_VAIN_FIRST = timedelta(minutes=1)  # upstream rejects what the issuer has just issued
PAUSE_MAX = timedelta(hours=1)

# Of failures without an answer: those in which the refresh token did not leave the worker.
UNSENT_CODES = frozenset({"connect_failed", "not_started"})
ANSWERED_UNSPENT_STATUS = 503  # refused at the door; other answers of the 500s may come after the token was spent


class ExchangeOutcome(StrEnum):
    """What came of an exchange."""

    ROTATED = "rotated"  # the new pair is stored
    REFUSED = "refused"  # the issuer will not take this refresh token again
    FAILED = "failed"  # nothing came of it, and the refresh token is not spent
    UNKNOWN = "unknown"  # nothing came of it, and the refresh token may be spent


@dataclass(frozen=True, slots=True)
class Exchange:
    """A line of the journal: one refresh token that left control."""

    ticket_id: TicketId
    epoch: int
    account_id: AccountId
    generation: int
    fingerprint: str
    worker_id: WorkerId
    started_at: datetime
    ended_at: datetime | None = None
    outcome: ExchangeOutcome | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing was heard of it yet."""
        return self.outcome is None

    @property
    def is_doubtful(self) -> bool:
        """Whether it may have spent the refresh token without a new pair in our hands."""
        return self.outcome in (None, ExchangeOutcome.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many exchanges run, and how close together they start."""

    at_once_max: int = 4  # the issuer sees no burst, and a pool of thousands is still through within minutes
    gap_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Login:
    """An account's present login as far as rotation goes."""

    generation: int
    refreshed_at: datetime
    access_expires_at: datetime | None
    rejected_at: datetime | None  # since when upstream rejects its access token
    accepted_at: datetime | None  # when upstream last took an access token of this account
    is_over: bool  # nothing but a new sign-in helps


def login_of(account: Account, record: Record) -> Login:
    """The login of an account of which this is known."""
    rejected, closed = record.login_rejected, record.closed
    is_rejected = rejected is not None and rejected.generation >= account.generation
    is_closed = closed is not None and closed.generation >= account.generation
    seen = [sample.observed_at for sample in record.usage.values()]
    if record.served is not None:
        seen.append(record.served.observed_at)
    return Login(
        generation=account.generation,
        refreshed_at=account.refreshed_at or account.created_at,
        access_expires_at=account.access_expires_at,
        rejected_at=rejected.observed_at if rejected is not None and is_rejected else None,
        accepted_at=max(seen, default=None),
        is_over=is_closed or (rejected is not None and is_rejected and rejected.is_final),
    )


def rotation_due(
    login: Login, exchanges: Collection[Exchange], *, interval: timedelta, wished_at: datetime | None = None
) -> datetime | None:
    """When the login is to be rotated, given the journal of its account; None while there is no reason to."""
    if login.is_over:
        return None
    of_login = [e for e in exchanges if e.generation == login.generation]
    reasons = [_expiry_due(login)]
    if login.rejected_at is not None:
        reasons.append(max(login.rejected_at, _after_rotations_in_vain(login, exchanges)))
    if not any(e.is_doubtful for e in of_login):
        reasons.append(login.refreshed_at + interval)
    known = [reason for reason in reasons if reason is not None]
    paused = [max(min(known), _after_failures(of_login, login.refreshed_at))] if known else []
    if wished_at is not None:
        paused.append(wished_at)  # a person need not wait for a pause to end
    settled = [e.started_at + SETTLES_WITHIN for e in of_login if e.is_open]
    return max(min(paused), *settled) if settled and paused else min(paused, default=None)


def outcome_of(failure: TicketFailure) -> ExchangeOutcome:
    """What a failed exchange did to the refresh token."""
    if failure.code in LOGIN_CODES | CLOSED_CODES:
        return ExchangeOutcome.REFUSED
    if failure.code in UNSENT_CODES or 400 <= failure.status < 500 or failure.status == ANSWERED_UNSPENT_STATUS:
        return ExchangeOutcome.FAILED
    return ExchangeOutcome.UNKNOWN


def refusal_of(failure: TicketFailure, *, generation: int, observed_at: datetime) -> Evidence | None:
    """What the issuer's refusal says about the login it was asked to renew; None when it says nothing lasting."""
    if failure.code in CLOSED_CODES:
        return Closed(generation, failure.code, observed_at)
    if failure.code in LOGIN_CODES:
        return LoginRejected(generation, failure.code, observed_at, is_final=True)
    return None


def fingerprint(refresh_token: str) -> str:
    """A name for a refresh token that tells nothing of it."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()[:16]


def _expiry_due(login: Login) -> datetime | None:
    if login.access_expires_at is None:
        return None
    life = max(timedelta(), login.access_expires_at - login.refreshed_at)
    ahead = min(AHEAD_OF_EXPIRY, life * AHEAD_OF_EXPIRY_SHARE)
    return max(login.access_expires_at - ahead, login.refreshed_at + EXPIRY_AGAIN)


def _after_rotations_in_vain(login: Login, exchanges: Collection[Exchange]) -> datetime:
    """Before this, upstream has had no time to take what was just issued; longer each time it did not."""
    in_vain = sum(
        e.outcome is ExchangeOutcome.ROTATED
        and e.ended_at is not None
        and (login.accepted_at is None or e.ended_at > login.accepted_at)
        for e in exchanges
    )
    return login.refreshed_at + _pause(IN_VAIN_FIRST, in_vain) if in_vain else login.refreshed_at


def _after_failures(of_login: Collection[Exchange], otherwise: datetime) -> datetime:
    ended = [e.ended_at for e in of_login if e.ended_at is not None]
    return max(ended) + _pause(FAILED_FIRST, len(ended)) if ended else otherwise


def _pause(first: timedelta, times: int) -> timedelta:
    doublings = min(times - 1, 10)
    return min(first * (1 << doublings), PAUSE_MAX)

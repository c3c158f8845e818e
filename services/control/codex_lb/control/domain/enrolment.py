"""One sign-in of a person at upstream: where it stands, and what it may become. Pure.

Every change is a new Flow, stored only by whoever read the one before it. So a sign-in ends once: what has succeeded
cannot fail later, and what was called off adds no account.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.ids import AccountId, FlowId

FLOW_TTL_S = 900.0  # as long as the issuer keeps a device code; a port is listened on no longer than this
FLOW_KEPT_S = 86_400.0  # so that a page that is loaded again hours later still says how its sign-in ended
FLOWS_LIVE_MAX = 16  # a person has one, a team some; more is a script gone wrong
POLL_PERIOD_S = 5.0  # where the issuer names none
POLL_PERIOD_S_MAX = 60.0
SLOW_DOWN_S = 5.0  # RFC 8628, section 3.5


class FlowMethod(StrEnum):
    """How a person signs in."""

    BROWSER = "browser"
    DEVICE = "device"


class FlowStage(StrEnum):
    """Where a sign-in stands."""

    PENDING = "pending"
    EXCHANGING = "exchanging"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # never stored: time alone makes it so


LIVE = frozenset({FlowStage.PENDING, FlowStage.EXCHANGING})


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in, without its secrets."""

    flow_id: FlowId
    method: FlowMethod
    stage: FlowStage
    target: AccountId | None  # the account to be signed in again; None: whoever signs in
    state_digest: str  # of the browser's `state`; empty for devices
    created_at: datetime
    expires_at: datetime
    revision: int = 1
    busy_until: datetime | None = None  # somebody exchanges the code until then, unless they died
    poll_at: datetime | None = None  # devices: when to ask the issuer next
    poll_period_s: float = POLL_PERIOD_S
    problem: str = ""  # a sentence
    account_id: AccountId | None = None  # who signed in
    is_account_new: bool = False

    def stage_at(self, now: datetime) -> FlowStage:
        """Where it stands then: an exchange that nobody finished can be tried again, until the time is over."""
        if self.stage is FlowStage.EXCHANGING and self.busy_until is not None and self.busy_until > now:
            return FlowStage.EXCHANGING
        if self.stage in LIVE:
            return FlowStage.PENDING if now < self.expires_at else FlowStage.EXPIRED
        return self.stage

    def is_live_at(self, now: datetime) -> bool:
        """Whether it can still succeed."""
        return self.stage_at(now) in LIVE


def exchanging(flow: Flow, *, until: datetime) -> Flow:
    """Somebody exchanges the code; others wait for them until then."""
    return replace(flow, stage=FlowStage.EXCHANGING, busy_until=until, problem="")


def asking(flow: Flow, *, until: datetime) -> Flow:
    """A replica asks the issuer; others do not until then."""
    return replace(flow, poll_at=until)


def still_waiting(flow: Flow, *, now: datetime, slow_down: bool = False, problem: str = "") -> Flow:
    """Nobody has typed the device's code yet."""
    period_s = min(flow.poll_period_s + (SLOW_DOWN_S if slow_down else 0.0), POLL_PERIOD_S_MAX)
    return replace(flow, poll_period_s=period_s, poll_at=now + timedelta(seconds=period_s), problem=problem)


def tried_in_vain(flow: Flow, problem: str) -> Flow:
    """The issuer did not answer: the same code may be tried again."""
    return replace(flow, stage=FlowStage.PENDING, busy_until=None, problem=problem)


def succeeded(flow: Flow, account_id: AccountId, *, is_account_new: bool) -> Flow:
    """The account has the login."""
    return _ended(flow, FlowStage.SUCCEEDED, account_id=account_id, is_account_new=is_account_new)


def failed(flow: Flow, problem: str) -> Flow:
    """It cannot succeed any more."""
    return _ended(flow, FlowStage.FAILED, problem=problem)


def cancelled(flow: Flow) -> Flow:
    """Somebody called it off."""
    return _ended(flow, FlowStage.CANCELLED)


def _ended(
    flow: Flow,
    stage: FlowStage,
    *,
    problem: str = "",
    account_id: AccountId | None = None,
    is_account_new: bool = False,
) -> Flow:
    return replace(
        flow,
        stage=stage,
        busy_until=None,
        poll_at=None,
        problem=problem,
        account_id=account_id,
        is_account_new=is_account_new,
    )

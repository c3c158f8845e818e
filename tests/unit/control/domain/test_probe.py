"""What a probe shows about an account, and what a person is told."""

from __future__ import annotations

from datetime import timedelta

import pytest

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import RefusalKind, Refused, Standing, standing
from codex_lb.control.domain.evidence import record_of as folded
from codex_lb.control.domain.probe import (
    ProbeOutcome,
    ProbeReport,
    evidence_of,
    outcome_of,
    summary_of,
    why_not_probable,
)
from tests.support.clock import NOON

IN_THREE_DAYS = NOON + timedelta(days=3)
REFUSED_AT_NOON = Refused(RefusalKind.QUOTA, "usage_limit_reached", IN_THREE_DAYS, NOON)


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (429, "usage_limit_reached", ProbeOutcome.REFUSED),
        (200, "rate_limit_exceeded", ProbeOutcome.REFUSED),
        (402, "http_402", ProbeOutcome.REFUSED),
        (429, "slow_down", ProbeOutcome.UNDECIDED),
        (401, "http_401", ProbeOutcome.LOGIN_REJECTED),
        (403, "token_revoked", ProbeOutcome.LOGIN_REJECTED),
        (401, "account_deactivated", ProbeOutcome.CLOSED),
        (400, "model_not_supported", ProbeOutcome.UNDECIDED),
        (503, "http_503", ProbeOutcome.UNDECIDED),
        (0, "timeout", ProbeOutcome.UNDECIDED),
    ],
)
def test_the_code_decides_and_where_it_says_nothing_the_status(status: int, code: str, outcome: ProbeOutcome) -> None:
    assert outcome_of(failed(status, code)) is outcome


def test_a_served_probe_ends_what_an_earlier_refusal_imposed_for_days() -> None:
    after = standing_after(SERVED, ended_after_s=10)

    assert (after.status, after.is_probing) == (AccountStatus.ACTIVE, False)


def test_a_probe_that_began_before_the_refusal_ends_nothing() -> None:
    after = standing_after(SERVED, ended_after_s=1)

    assert (after.status, after.until) == (AccountStatus.RATE_LIMITED, IN_THREE_DAYS)


def test_a_refused_probe_says_until_when() -> None:
    report = failed(429, "usage_limit_reached", resets_in=timedelta(days=5))

    after = standing_after(report, ended_after_s=10)

    assert (after.status, after.until) == (AccountStatus.RATE_LIMITED, NOON + timedelta(days=5))
    assert (
        summary_of(report)
        == f"Upstream refused it (usage_limit_reached) until {NOON + timedelta(days=5):%Y-%m-%d %H:%M} UTC."
    )


def test_what_is_not_the_accounts_fault_leaves_no_evidence() -> None:
    assert list(evidence_of(failed(503, "http_503"), ended_at=NOON)) == []


def test_a_rejected_login_is_that_of_the_generation_that_was_used() -> None:
    record = folded(evidence_of(failed(401, "token_expired"), ended_at=NOON))

    assert standing(record, generation=2, now=NOON).status is AccountStatus.REAUTH_REQUIRED
    assert standing(record, generation=3, now=NOON).status is AccountStatus.ACTIVE


@pytest.mark.parametrize("status", AccountStatus)
def test_accounts_that_upstream_refuses_can_be_probed_and_those_without_a_login_not(status: AccountStatus) -> None:
    is_refused = status in {AccountStatus.RATE_LIMITED, AccountStatus.QUOTA_EXCEEDED, AccountStatus.ACTIVE}

    assert (why_not_probable(status) == "") is is_refused


SERVED = ProbeReport(is_served=True, status=200, code="", message="", resets_at=None, took_s=2.0, generation=2)


def failed(status: int, code: str, *, resets_in: timedelta | None = None) -> ProbeReport:
    resets_at = NOON + resets_in if resets_in is not None else None
    return ProbeReport(False, status, code, f"probing: HTTP {status}", resets_at, took_s=2.0, generation=2)


def standing_after(report: ProbeReport, *, ended_after_s: float) -> Standing:
    ended_at = NOON + timedelta(seconds=ended_after_s)
    record = folded([REFUSED_AT_NOON, *evidence_of(report, ended_at=ended_at)])
    return standing(record, generation=2, now=ended_at)

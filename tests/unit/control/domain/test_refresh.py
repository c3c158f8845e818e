"""What is refreshed, when, with whose login, and what a failure says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import Closed, LoginRejected
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.refresh import (
    CLAIM_AGAIN_S_MAX,
    CLAIM_AGAIN_S_MIN,
    Refreshable,
    Task,
    TicketFailure,
    TicketKind,
    claim_again_in,
    evidence_of,
    first_due,
    next_due,
    speaker,
)
from tests.support.clock import NOON


def test_a_plan_is_listed_with_another_active_account_each_time() -> None:
    limited = _account("limited", status=AccountStatus.RATE_LIMITED)
    accounts = [limited, _account("a"), _account("b"), _account("other", "pro")]
    models = Task(TicketKind.MODELS, "plus")

    assert [speaker(models, accounts, turn=turn) for turn in range(3)] == ["a", "b", "a"]
    assert speaker(models, [limited], turn=5) == "limited"
    assert speaker(models, [], turn=0) is None


@given(st.text(min_size=1), st.floats(1, 3600))
def test_the_first_time_lies_within_one_period_and_is_the_same_for_a_subject(subject: str, period_s: float) -> None:
    due = first_due(subject, period_s=period_s, now=NOON, is_urgent=False)

    assert NOON <= due <= NOON + timedelta(seconds=period_s)
    assert due == first_due(subject, period_s=period_s, now=NOON, is_urgent=False)


def test_what_is_urgent_is_due_at_once() -> None:
    assert first_due("a", period_s=60, now=NOON, is_urgent=True) == NOON


def test_a_thousand_accounts_are_spread_over_the_period() -> None:
    due = [first_due(f"acc_{i}", period_s=60, now=NOON, is_urgent=False) for i in range(1000)]

    per_slice = [sum(0 <= (d - NOON).total_seconds() - s < 6 for d in due) for s in range(0, 60, 6)]
    assert all(70 < n < 130 for n in per_slice)


@given(st.floats(-10, 10_000), st.integers(1, 600))
def test_the_next_time_is_in_the_future_and_keeps_the_phase(late_s: float, period_s: int) -> None:
    now = NOON + timedelta(seconds=late_s)

    due = next_due(NOON, period_s=period_s, now=now)

    assert now < due <= max(now, NOON) + timedelta(seconds=period_s)
    assert (due - NOON) % timedelta(seconds=period_s) == timedelta()


def test_a_worker_asks_again_when_something_is_due_but_neither_at_once_nor_late() -> None:
    assert claim_again_in(None, now=NOON) == CLAIM_AGAIN_S_MAX
    assert claim_again_in(NOON + timedelta(hours=1), now=NOON) == CLAIM_AGAIN_S_MAX
    assert claim_again_in(NOON, now=NOON) == CLAIM_AGAIN_S_MIN
    assert claim_again_in(NOON + timedelta(seconds=5.5), now=NOON) == pytest.approx(0.5)


def test_only_failures_of_the_login_become_evidence() -> None:
    assert evidence_of(_failure("account_deleted", 403), observed_at=NOON) == Closed(3, "account_deleted", NOON)
    assert evidence_of(_failure("token_expired", 400), observed_at=NOON) == LoginRejected(3, "token_expired", NOON)
    assert evidence_of(_failure("http_401", 401), observed_at=NOON) == LoginRejected(3, "http_401", NOON)
    for passing in (_failure("http_500", 500), _failure("http_403", 403), _failure("timeout", 0)):
        assert evidence_of(passing, observed_at=NOON) is None


def _account(name: str, plan: str = "plus", status: AccountStatus = AccountStatus.ACTIVE) -> Refreshable:
    return Refreshable(AccountId(name), plan, status)


def _failure(code: str, status: int) -> TicketFailure:
    return TicketFailure(code, status, "a sentence", is_transient=False, generation=3)

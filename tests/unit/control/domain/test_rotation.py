"""When a login is rotated, and what is made of an exchange that went wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.evidence import Closed, LoginRejected
from codex_lb.control.domain.ids import AccountId, TicketId, WorkerId
from codex_lb.control.domain.refresh import TicketFailure
from codex_lb.control.domain.rotation import (
    PAUSE_MAX,
    SETTLES_WITHIN,
    Exchange,
    ExchangeOutcome,
    Login,
    fingerprint,
    outcome_of,
    refusal_of,
    rotation_due,
)
from tests.support.clock import NOON

INTERVAL = timedelta(days=8)
FRESH = Login(
    generation=3,
    refreshed_at=NOON,
    access_expires_at=NOON + timedelta(days=10),
    rejected_at=None,
    accepted_at=None,
    is_over=False,
)


def test_a_login_is_rotated_when_it_is_old_enough_whether_it_is_used_or_not() -> None:
    assert _due(FRESH) == NOON + INTERVAL


def test_a_login_is_rotated_before_its_access_token_ends() -> None:
    ends_soon = replace(FRESH, access_expires_at=NOON + timedelta(days=1))
    short_lived = replace(FRESH, access_expires_at=NOON + timedelta(minutes=10))

    assert _due(ends_soon) == NOON + timedelta(days=1) - timedelta(minutes=30)
    assert _due(short_lived) == NOON + timedelta(minutes=8)


def test_a_token_that_ends_as_it_is_issued_is_not_rotated_in_a_loop() -> None:
    assert _due(replace(FRESH, access_expires_at=NOON - timedelta(minutes=5))) == NOON + timedelta(minutes=1)


def test_a_rejected_access_token_is_rotated_at_once() -> None:
    assert _due(replace(FRESH, rejected_at=_at(hours=1))) == _at(hours=1)


def test_what_only_a_sign_in_can_lift_is_not_rotated() -> None:
    over = replace(FRESH, rejected_at=_at(hours=1), is_over=True)

    assert _due(over, wished_at=_at(hours=2)) is None


def test_a_login_that_upstream_rejects_as_soon_as_it_is_issued_is_rotated_ever_more_rarely() -> None:
    rejected = replace(FRESH, refreshed_at=_at(hours=10), rejected_at=_at(hours=10))

    def after(rotations: int) -> timedelta | None:
        journal = [_exchange(generation=n, outcome=ExchangeOutcome.ROTATED) for n in range(rotations)]
        due = _due(rejected, *journal)
        return due - _at(hours=10) if due else None

    assert [after(n) for n in (0, 1, 2, 3)] == [timedelta(minutes=m) for m in (0, 1, 2, 4)]
    assert after(40) == PAUSE_MAX


def test_rotations_that_upstream_took_do_not_delay_the_next() -> None:
    journal = [_exchange(generation=2, outcome=ExchangeOutcome.ROTATED)]
    served_since = replace(FRESH, accepted_at=_at(hours=1), rejected_at=_at(hours=2))

    assert _due(served_since, *journal) == _at(hours=2)


def test_a_failed_exchange_is_repeated_after_a_pause_that_doubles() -> None:
    rejected = replace(FRESH, rejected_at=NOON)

    def after(failures: int) -> timedelta | None:
        due = _due(rejected, *[_exchange(outcome=ExchangeOutcome.FAILED) for _ in range(failures)])
        return due - _ENDED if due else None

    assert [after(n) for n in (1, 2, 3)] == [timedelta(seconds=s) for s in (30, 60, 120)]
    assert after(99) == PAUSE_MAX


def test_a_person_does_not_wait_for_the_pause() -> None:
    failed = _exchange(outcome=ExchangeOutcome.FAILED)

    assert _due(FRESH, failed, wished_at=_at(minutes=2)) == _at(minutes=2)


def test_an_exchange_nobody_heard_of_keeps_its_refresh_token_until_its_worker_has_given_up() -> None:
    open_ = _exchange()
    rejected = replace(FRESH, rejected_at=NOON)

    assert _due(rejected, open_) == open_.started_at + SETTLES_WITHIN
    assert _due(rejected, open_, wished_at=NOON) == open_.started_at + SETTLES_WITHIN


@pytest.mark.parametrize("outcome", [None, ExchangeOutcome.UNKNOWN])
def test_a_refresh_token_that_may_be_spent_is_tried_again_only_when_nothing_is_lost_by_it(
    outcome: ExchangeOutcome | None,
) -> None:
    doubtful = _exchange(outcome=outcome)

    assert _due(FRESH, doubtful) == NOON + timedelta(days=10) - timedelta(minutes=30)
    assert _due(replace(FRESH, access_expires_at=None), doubtful) is None


@given(st.lists(st.sampled_from([None, *ExchangeOutcome]), max_size=6), st.booleans(), st.booleans())
def test_while_an_exchange_is_open_no_other_begins(
    outcomes: list[ExchangeOutcome | None], is_rejected: bool, is_wished: bool
) -> None:
    login = replace(FRESH, rejected_at=NOON if is_rejected else None)
    journal = [_exchange(), *(_exchange(outcome=outcome) for outcome in outcomes)]

    due = _due(login, *journal, wished_at=NOON if is_wished else None)

    assert due is None or due >= journal[0].started_at + SETTLES_WITHIN


@pytest.mark.parametrize(
    ("code", "status", "outcome"),
    [
        ("refresh_token_reused", 401, ExchangeOutcome.REFUSED),
        ("account_suspended", 403, ExchangeOutcome.REFUSED),
        ("http_429", 429, ExchangeOutcome.FAILED),
        ("http_503", 503, ExchangeOutcome.FAILED),
        ("connect_failed", 0, ExchangeOutcome.FAILED),
        ("not_started", 0, ExchangeOutcome.FAILED),
        ("timeout", 0, ExchangeOutcome.UNKNOWN),
        ("transport_error", 0, ExchangeOutcome.UNKNOWN),
        ("http_502", 502, ExchangeOutcome.UNKNOWN),
        ("invalid_response", 200, ExchangeOutcome.UNKNOWN),
    ],
)
def test_a_failure_tells_whether_the_refresh_token_may_be_spent(
    code: str, status: int, outcome: ExchangeOutcome
) -> None:
    assert outcome_of(_failure(code, status)) is outcome


def test_only_the_issuers_own_words_end_a_login() -> None:
    def said(code: str, status: int) -> object:
        return refusal_of(_failure(code, status), generation=3, observed_at=NOON)

    assert said("invalid_grant", 400) == LoginRejected(3, "invalid_grant", NOON, is_final=True)
    assert said("account_deleted", 403) == Closed(3, "account_deleted", NOON)
    assert [said("http_401", 401), said("http_500", 500), said("timeout", 0)] == [None, None, None]


def test_a_fingerprint_tells_refresh_tokens_apart_and_nothing_of_them() -> None:
    assert fingerprint("rt_a") != fingerprint("rt_b")
    assert "rt_a" not in fingerprint("rt_a")


_ENDED = NOON + timedelta(minutes=1)


def _due(login: Login, *journal: Exchange, wished_at: datetime | None = None) -> datetime | None:
    return rotation_due(login, journal, interval=INTERVAL, wished_at=wished_at)


def _exchange(*, generation: int = 3, outcome: ExchangeOutcome | None = None) -> Exchange:
    ended_at = _ENDED if outcome is not None else None
    return Exchange(
        TicketId("t"), 1, AccountId("a"), generation, fingerprint("rt"), WorkerId("w"), NOON, ended_at, outcome
    )


def _failure(code: str, status: int) -> TicketFailure:
    return TicketFailure(code, status, "a sentence", is_transient=False, generation=3)


def _at(**after: float) -> datetime:
    return NOON + timedelta(**after)

"""Many accounts that fail alike within seconds have one cause, and it is none of theirs."""

from __future__ import annotations

import pytest

from codex_lb.gateway.outcome import Abandoned, Blame, Broken, Completed, Failure, Fault, Limited, Rejected
from codex_lb.gateway.turn.next_step import Budget, Step, next_step
from codex_lb.gateway.turn.storms import STORM_ACCOUNTS, STORM_S, Storms

OUTAGE = Broken(Fault("server_error", Blame.UPSTREAM, "…"))
LOGIN = Rejected(Fault("token_expired", Blame.ACCOUNT, "…", status=401))


def seen(*failures: Failure, first: int = 0, now: float = 0.0) -> Storms:
    storms = Storms()
    for n, failure in enumerate(failures, start=first):
        storms.judged(failure, f"account-{n}", now=now)
    return storms


def test_accounts_that_fail_alike_are_a_storm() -> None:
    assert not seen(*[OUTAGE] * (STORM_ACCOUNTS - 1)).is_storm(OUTAGE, now=1.0)
    assert seen(*[OUTAGE] * STORM_ACCOUNTS).is_storm(OUTAGE, now=1.0)


def test_one_account_that_fails_again_and_again_is_none() -> None:
    storms = Storms()

    for _ in range(50):
        storms.judged(OUTAGE, "a", now=0.0)

    assert not storms.is_storm(OUTAGE, now=0.0)


def test_a_storm_is_over_with_the_first_answer_or_after_a_while() -> None:
    storms = seen(*[OUTAGE] * STORM_ACCOUNTS)

    assert not storms.is_storm(OUTAGE, now=STORM_S)
    storms.judged(Completed(None, "", ""), "account-9", now=1.0)
    assert not storms.is_storm(OUTAGE, now=1.0)


@pytest.mark.parametrize(
    "failure",
    [
        Limited(Fault("usage_limit_reached", Blame.ACCOUNT, "…")),
        Rejected(Fault("invalid_prompt", Blame.CLIENT, "…")),
        Broken(Fault("internal_error", Blame.US, "…")),
    ],
)
def test_limits_and_what_is_the_clients_or_ours_make_no_storm(failure: Failure) -> None:
    assert not seen(*[failure] * 20).is_storm(failure, now=0.0)


def test_other_failures_are_not_explained_by_it() -> None:
    assert not seen(*[OUTAGE] * STORM_ACCOUNTS).is_storm(LOGIN, now=0.0)
    assert not seen(*[OUTAGE] * STORM_ACCOUNTS).is_storm(Abandoned(), now=0.0)


def test_in_a_storm_no_account_is_judged_and_none_is_asked_but_this_one() -> None:
    storms = seen(*[LOGIN] * (STORM_ACCOUNTS - 1))

    judged = storms.judged(LOGIN, "one more", now=1.0)

    assert isinstance(judged, Rejected)
    assert (judged.fault.blame, judged.fault.code) == (Blame.UPSTREAM, "token_expired")
    assert next_step(judged, is_visible=False, budget=Budget(), is_storm=True) is Step.GIVE_UP
    assert next_step(OUTAGE, is_visible=False, budget=Budget(), is_storm=True) is Step.SAME_ACCOUNT
    assert next_step(OUTAGE, is_visible=False, budget=Budget(2, 0), is_storm=True) is Step.GIVE_UP


def test_limits_move_on_in_a_storm_too() -> None:
    limit = Limited(Fault("usage_limit_reached", Blame.ACCOUNT, "…"))

    assert next_step(limit, is_visible=False, budget=Budget(), is_storm=True) is Step.NEXT_ACCOUNT

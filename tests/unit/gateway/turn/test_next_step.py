"""A turn moves while nothing was shown of it, within one budget, and never afterwards."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.outcome import (
    SILENCE,
    Abandoned,
    Blame,
    Broken,
    Completed,
    Failure,
    Fault,
    Limited,
    Outcome,
    Rejected,
)
from codex_lb.gateway.turn.next_step import ACCOUNTS_MAX, LIMITS_MAX, LOGINS_MAX, RETRIES_MAX, Budget, Step, next_step
from codex_lb.gateway.turn.storms import STORM_ACCOUNTS

FRESH, NO_RETRIES, NO_ACCOUNTS, SPENT = Budget(), Budget(2, 0), Budget(0, 2), Budget(0, 0, 0, 0)

kinds = st.sampled_from([Limited, Rejected, Broken])
failures = st.builds(
    lambda kind, blame: kind(Fault("code", blame, "…")),
    kinds,
    st.sampled_from(Blame),
)
outcomes = failures | st.just(Completed(None, "", "")) | st.just(Abandoned())
budgets = st.builds(Budget, st.integers(0, ACCOUNTS_MAX - 1), st.integers(0, RETRIES_MAX))


def failure(kind: type[Limited] | type[Rejected] | type[Broken], blame: Blame) -> Failure:
    return kind(Fault("code", blame, "…"))


def step(outcome: Outcome, budget: Budget) -> Step:
    return next_step(outcome, is_visible=False, budget=budget)


@given(failures, budgets)
def test_a_visible_turn_never_moves(outcome: Failure, budget: Budget) -> None:
    assert next_step(outcome, is_visible=True, budget=budget) is Step.GIVE_UP


@given(st.booleans(), budgets)
def test_an_answer_is_an_answer(is_visible: bool, budget: Budget) -> None:
    assert next_step(Completed(None, "", ""), is_visible=is_visible, budget=budget) is Step.FINISH


@given(st.booleans(), budgets)
def test_nobody_is_asked_for_a_client_that_left(is_visible: bool, budget: Budget) -> None:
    assert next_step(Abandoned(), is_visible=is_visible, budget=budget) is Step.GIVE_UP


@pytest.mark.parametrize("blame", Blame)
def test_a_limit_is_answered_elsewhere_and_never_asked_again(blame: Blame) -> None:
    assert step(failure(Limited, blame), FRESH) is Step.NEXT_ACCOUNT
    assert step(failure(Limited, blame), NO_RETRIES) is Step.NEXT_ACCOUNT
    assert step(failure(Limited, blame), NO_ACCOUNTS) is Step.NEXT_ACCOUNT  # a limit costs nothing
    assert step(failure(Limited, blame), SPENT) is Step.GIVE_UP


def test_a_rejected_login_costs_nothing_for_a_while() -> None:
    rejected, accounts, budget = failure(Rejected, Blame.ACCOUNT), 1, FRESH

    while step(rejected, budget) is Step.NEXT_ACCOUNT:
        budget, accounts = budget.after(Step.NEXT_ACCOUNT, rejected), accounts + 1

    assert accounts == ACCOUNTS_MAX + LOGINS_MAX < STORM_ACCOUNTS


def test_an_account_that_is_silent_is_not_asked_again() -> None:
    silent = Broken(Fault(SILENCE, Blame.UPSTREAM, "…"))

    assert [step(silent, b) for b in (FRESH, NO_RETRIES)] == [Step.NEXT_ACCOUNT, Step.NEXT_ACCOUNT]
    assert step(silent, NO_ACCOUNTS) is Step.GIVE_UP


@pytest.mark.parametrize("blame", [b for b in Blame if b not in (Blame.ACCOUNT, Blame.CLIENT)])
def test_a_refusal_that_is_not_the_clients_is_answered_elsewhere(blame: Blame) -> None:
    assert step(failure(Rejected, blame), FRESH) is Step.NEXT_ACCOUNT
    assert step(failure(Rejected, blame), NO_ACCOUNTS) is Step.GIVE_UP


@pytest.mark.parametrize("budget", [FRESH, NO_RETRIES, NO_ACCOUNTS, SPENT])
def test_the_clients_own_mistake_burns_no_second_account(budget: Budget) -> None:
    assert step(failure(Rejected, Blame.CLIENT), budget) is Step.GIVE_UP


@pytest.mark.parametrize("blame", [b for b in Blame if b not in (Blame.MODEL, Blame.NETWORK)])
def test_what_broke_is_asked_again_before_it_is_asked_elsewhere(blame: Blame) -> None:
    broken = failure(Broken, blame)

    assert [step(broken, b) for b in (FRESH, NO_ACCOUNTS, NO_RETRIES, SPENT)] == [
        Step.SAME_ACCOUNT,
        Step.SAME_ACCOUNT,
        Step.NEXT_ACCOUNT,
        Step.GIVE_UP,
    ]


def test_our_own_network_is_the_same_for_every_account() -> None:
    unreached = failure(Broken, Blame.NETWORK)

    assert [step(unreached, b) for b in (FRESH, NO_RETRIES)] == [Step.SAME_ACCOUNT, Step.GIVE_UP]


def test_an_overloaded_model_is_not_asked_twice_on_one_account() -> None:
    assert step(failure(Broken, Blame.MODEL), FRESH) is Step.NEXT_ACCOUNT
    assert step(failure(Broken, Blame.MODEL), NO_ACCOUNTS) is Step.GIVE_UP


@given(st.lists(outcomes, min_size=ACCOUNTS_MAX + RETRIES_MAX + LIMITS_MAX + LOGINS_MAX + 1, max_size=30))
def test_a_turn_ends_within_its_budget_whatever_happens(happening: list[Outcome]) -> None:
    budget, calls, accounts = Budget(), 0, 1

    for outcome in happening:
        calls += 1
        taken = step(outcome, budget)
        if taken in (Step.FINISH, Step.GIVE_UP):
            break
        budget = budget.after(taken, outcome)
        accounts += taken is Step.NEXT_ACCOUNT

    assert calls <= ACCOUNTS_MAX + RETRIES_MAX + LIMITS_MAX + LOGINS_MAX
    assert accounts <= ACCOUNTS_MAX + LIMITS_MAX + LOGINS_MAX


def test_a_step_costs_what_it_takes() -> None:
    broken, limited = failure(Broken, Blame.UPSTREAM), failure(Limited, Blame.ACCOUNT)

    assert FRESH.after(Step.NEXT_ACCOUNT, broken) == Budget(ACCOUNTS_MAX - 2, RETRIES_MAX, LIMITS_MAX)
    assert FRESH.after(Step.NEXT_ACCOUNT, limited) == Budget(ACCOUNTS_MAX - 1, RETRIES_MAX, LIMITS_MAX - 1)
    assert FRESH.after(Step.SAME_ACCOUNT, broken) == Budget(ACCOUNTS_MAX - 1, RETRIES_MAX - 1, LIMITS_MAX)
    assert FRESH.after(Step.FINISH, broken) == FRESH.after(Step.GIVE_UP, broken) == FRESH


def test_every_case_has_a_step() -> None:
    all_failures = [failure(kind, blame) for kind, blame in product((Limited, Rejected, Broken), Blame)]

    for outcome, visible, budget in product(all_failures, (True, False), (FRESH, NO_RETRIES, NO_ACCOUNTS, SPENT)):
        assert isinstance(next_step(outcome, is_visible=visible, budget=budget), Step)

"""The pool in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import Source, Standing, UsageSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.policy import PoolState
from codex_lb.control.domain.pool_tally import PoolTally, Share
from codex_lb.control.domain.window import Window, WindowKind
from tests.support.clock import NOON

LENGTH_S = {WindowKind.PRIMARY: 18_000.0, WindowKind.SECONDARY: 604_800.0, WindowKind.MONTHLY: 2_592_000.0}


def test_an_empty_pool_has_nothing_to_show() -> None:
    assert _state_of([]) == PoolState(0, 0, ())


def test_a_window_is_weighted_by_what_each_plan_holds() -> None:
    plus = _share("plus", weekly=100.0)
    pro = _share("pro", weekly=0.0)

    [window] = _state_of([plus, pro]).windows

    assert window.used_percent == pytest.approx(100 * 7560 / (7560 + 50400))


def test_a_window_resets_when_the_first_account_does_and_one_that_has_begun_anew_is_empty() -> None:
    over = _share("plus", weekly=80.0, resets_in_s=-1)
    soon = _share("plus", weekly=80.0, resets_in_s=30)

    [window] = _state_of([over, soon, _share("plus", weekly=80.0, resets_in_s=60)]).windows

    assert window.resets_at == NOON + timedelta(seconds=30)
    assert window.used_percent == pytest.approx(160 / 3)


def test_accounts_out_of_service_count_but_lend_no_quota() -> None:
    state = _state_of([_share("plus", weekly=10.0), _share("plus", AccountStatus.PAUSED, weekly=90.0)])

    assert (state.ready_accounts, state.accounts) == (1, 2)
    assert [w.used_percent for w in state.windows] == [10.0]


def test_a_window_no_plan_has_a_capacity_for_shows_the_mean() -> None:
    shares = [Share("plus", _standing(), {WindowKind.MONTHLY: _seen(WindowKind.MONTHLY, used)}) for used in (20, 40)]

    assert [w.used_percent for w in _state_of(shares).windows] == [30.0]


instants = st.integers(-60, 60).map(float)
shares = st.builds(
    lambda plan, status, used, resets_in_s: _share(plan, status, weekly=used, resets_in_s=resets_in_s),
    st.sampled_from(["free", "plus", "pro"]),
    st.sampled_from(AccountStatus),
    st.floats(0, 100),
    instants,
)
names = st.sampled_from("abcd").map(AccountId)


@given(st.lists(st.tuples(names, st.none() | shares), max_size=20), st.integers(0, 60))
def test_a_pool_that_changed_step_by_step_is_told_as_one_that_was_counted_at_once(
    steps: list[tuple[AccountId, Share | None]], later_s: int
) -> None:
    tally, later = PoolTally(), NOON + timedelta(seconds=later_s)
    present: dict[AccountId, Share] = {}
    for account_id, share in steps:
        if share is None:
            tally.remove(account_id)
            present.pop(account_id, None)
        else:
            tally.put(account_id, share, now=NOON)
            present[account_id] = share

    for account_id in tally.passed(later):
        tally.put(account_id, present[account_id], now=later)

    assert tally.state() == _state_of(present.values(), now=later)


def _state_of(shares: Iterable[Share], *, now: datetime = NOON) -> PoolState:
    tally = PoolTally()
    for number, share in enumerate(shares):
        tally.put(AccountId(str(number)), share, now=now)
    return tally.state()


def _share(
    plan: str, status: AccountStatus = AccountStatus.ACTIVE, *, weekly: float, resets_in_s: float = 600
) -> Share:
    return Share(plan, _standing(status), {WindowKind.SECONDARY: _seen(WindowKind.SECONDARY, weekly, resets_in_s)})


def _standing(status: AccountStatus = AccountStatus.ACTIVE) -> Standing:
    return Standing(status, "", None, is_probing=False)


def _seen(kind: WindowKind, used: float, resets_in_s: float = 600) -> UsageSeen:
    return UsageSeen(Window(kind, used, LENGTH_S[kind], NOON + timedelta(seconds=resets_in_s)), NOON, Source.POLL)

"""The pool in a few numbers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import Source, Standing, UsageSeen
from codex_lb.control.domain.policy import PoolState, Share, pool_state_of
from codex_lb.control.domain.window import Window, WindowKind
from tests.support.clock import NOON

LENGTH_S = {WindowKind.PRIMARY: 18_000.0, WindowKind.SECONDARY: 604_800.0, WindowKind.MONTHLY: 2_592_000.0}


def test_an_empty_pool_has_nothing_to_show() -> None:
    assert pool_state_of([], now=NOON) == PoolState(0, 0, ())


def test_a_window_is_weighted_by_what_each_plan_holds() -> None:
    plus = _share("plus", weekly=100.0)
    pro = _share("pro", weekly=0.0)

    [window] = pool_state_of([plus, pro], now=NOON).windows

    assert window.used_percent == pytest.approx(100 * 7560 / (7560 + 50400))


def test_a_window_resets_when_the_first_account_does_and_one_that_has_begun_anew_is_empty() -> None:
    over = _share("plus", weekly=80.0, resets_in_s=-1)
    soon = _share("plus", weekly=80.0, resets_in_s=30)

    [window] = pool_state_of([over, soon, _share("plus", weekly=80.0, resets_in_s=60)], now=NOON).windows

    assert window.resets_at == NOON + timedelta(seconds=30)
    assert window.used_percent == pytest.approx(160 / 3)


def test_accounts_out_of_service_count_but_lend_no_quota() -> None:
    state = pool_state_of([_share("plus", weekly=10.0), _share("plus", AccountStatus.PAUSED, weekly=90.0)], now=NOON)

    assert (state.ready_accounts, state.accounts) == (1, 2)
    assert [w.used_percent for w in state.windows] == [10.0]


def test_a_window_no_plan_has_a_capacity_for_shows_the_mean() -> None:
    shares = [Share("plus", _standing(), {WindowKind.MONTHLY: _seen(WindowKind.MONTHLY, used)}) for used in (20, 40)]

    assert [w.used_percent for w in pool_state_of(shares, now=NOON).windows] == [30.0]


def _share(
    plan: str, status: AccountStatus = AccountStatus.ACTIVE, *, weekly: float, resets_in_s: float = 600
) -> Share:
    return Share(plan, _standing(status), {WindowKind.SECONDARY: _seen(WindowKind.SECONDARY, weekly, resets_in_s)})


def _standing(status: AccountStatus = AccountStatus.ACTIVE) -> Standing:
    return Standing(status, "", None, is_probing=False)


def _seen(kind: WindowKind, used: float, resets_in_s: float = 600) -> UsageSeen:
    return UsageSeen(Window(kind, used, LENGTH_S[kind], NOON + timedelta(seconds=resets_in_s)), NOON, Source.POLL)

"""Windows of limits: whole periods from the moment the key was made."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.control.domain.limit import LENGTH, Limit, LimitUnit, LimitWindow
from tests.support.clock import NOON

HOUR = timedelta(hours=1)


def limit(window: LimitWindow = LimitWindow.DAY, *, model: str = "") -> Limit:
    return Limit("limit_1", LimitUnit.TOTAL_TOKENS, window, model, 1000, begins_at=NOON)


@given(st.sampled_from(LimitWindow), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_the_present_instant_lies_in_the_window_which_is_a_whole_number_of_periods_after_the_first(
    window: LimitWindow, later: timedelta
) -> None:
    one, now = limit(window), NOON + later

    assert one.window_at(now) <= now < one.resets_at(now)
    assert one.resets_at(now) - one.window_at(now) == LENGTH[window]
    assert (one.window_at(now) - NOON) % LENGTH[window] == timedelta(0)


@pytest.mark.parametrize(("hours", "window"), [(0, 0), (23.9, 0), (24, 24), (100, 96)])
def test_a_window_begins_where_the_last_one_ended(hours: float, window: float) -> None:
    assert limit().window_at(NOON + hours * HOUR) == NOON + window * HOUR


def test_a_reset_counts_until_the_next_window_begins() -> None:
    one = Limit("limit_1", LimitUnit.REQUESTS, LimitWindow.DAY, "", 5, begins_at=NOON, reset_at=NOON + 3 * HOUR)

    assert one.counts_since(NOON + 4 * HOUR) == NOON + 3 * HOUR
    assert one.counts_since(NOON + 24 * HOUR) == NOON + 24 * HOUR


def test_a_limit_of_one_model_leaves_the_others_alone() -> None:
    assert limit(model="gpt-5.5").applies_to("gpt-5.5")
    assert not limit(model="gpt-5.5").applies_to("gpt-5.4")
    assert not limit(model="gpt-5.5").applies_to("")
    assert limit().applies_to("")

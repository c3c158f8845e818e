"""How long to wait before trying again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.kit.backoff import Backoff


def test_waits_double_until_they_reach_the_longest() -> None:
    backoff = Backoff(first_s=0.5, max_s=3.0)

    assert [backoff.delay(attempt, random=0.0) for attempt in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_jitter_shortens_a_wait_by_at_most_its_share() -> None:
    backoff = Backoff(first_s=1.0, max_s=10.0, jitter=0.25)

    assert backoff.delay(0, random=1.0) == 0.75


@given(st.integers(0, 10**9), st.floats(0, 1, exclude_max=True), st.floats(1, 10))
def test_no_wait_is_longer_than_the_longest_however_often_it_failed(attempt: int, random: float, factor: float) -> None:
    delay = Backoff(first_s=0.1, max_s=5.0, factor=factor).delay(attempt, random)

    assert 0 < delay <= 5.0


def test_values_that_describe_no_backoff_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 0 < first_s <= max_s"):
        Backoff(first_s=2.0, max_s=1.0)

"""One deadline says what a moment of silence calls for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.turn.deadline import Deadline, Due

seconds = st.floats(0, 10_000)


def deadline(*, heard: float = 0, told: float = 0) -> Deadline:
    made = Deadline(started=1000.0, budget_s=100, idle_s=30, keepalive_s=10)
    made.heard, made.told = 1000.0 + heard, 1000.0 + told
    return made


@pytest.mark.parametrize(
    ("now", "heard", "told", "due"),
    [
        (0, 0, 0, Due.NOTHING),
        (9.9, 0, 0, Due.NOTHING),
        (10, 0, 0, Due.KEEP_ALIVE),
        (29, 0, 20, Due.NOTHING),
        (29, 0, 10, Due.KEEP_ALIVE),
        (30, 0, 25, Due.IDLE_TIMEOUT),
        (30, 0, 0, Due.IDLE_TIMEOUT),  # graver than a keep-alive
        (30, 25, 25, Due.NOTHING),
        (99, 98, 98, Due.NOTHING),
        (100, 99, 99, Due.BUDGET_SPENT),
        (500, 0, 0, Due.BUDGET_SPENT),  # graver than all
    ],
)
def test_the_gravest_is_due_first(now: float, heard: float, told: float, due: Due) -> None:
    assert deadline(heard=heard, told=told).due(1000.0 + now) is due


def test_a_turn_begins_with_nothing_due() -> None:
    fresh = Deadline(started=7.0, budget_s=1, idle_s=1, keepalive_s=1)

    assert (fresh.heard, fresh.told) == (7.0, 7.0)
    assert fresh.due(7.0) is Due.NOTHING


@given(seconds, seconds, seconds)
def test_nothing_becomes_due_before_the_next_check(heard: float, told: float, now: float) -> None:
    waiting = deadline(heard=heard, told=told)
    at = 1000.0 + now

    pause = waiting.next_check_s(at)

    assert pause >= 0.01  # a turn whose deadline has passed does not spin
    if waiting.due(at) is Due.NOTHING and pause > 0.02:
        assert waiting.due(at + pause * 0.99) is Due.NOTHING
        assert waiting.due(at + pause + 0.001) is not Due.NOTHING

"""The breaker before Redis."""

from __future__ import annotations

from codex_lb.kit.redis import ASKED_AGAIN_AFTER_S, FAILURES_MAX, Breaker
from tests.support.clock import FakeClock


def test_a_server_that_fails_a_few_times_in_a_row_is_taken_for_gone_and_that_is_told_once() -> None:
    breaker, told = Breaker(FakeClock()), []
    breaker.on_open(lambda: told.append("gone"))

    for _ in range(FAILURES_MAX - 1):
        breaker.failed("no answer")
    was_let_through = breaker.lets_through()
    for _ in range(3):
        breaker.failed("no answer")

    assert was_let_through
    assert not breaker.lets_through()
    assert told == ["gone"]


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker(FakeClock())

    for _ in range(FAILURES_MAX):
        breaker.failed("no answer")
        breaker.succeeded()

    assert breaker.lets_through()


def test_one_call_at_a_time_is_let_through_to_a_server_that_is_taken_for_gone_until_one_succeeds() -> None:
    clock = FakeClock()
    breaker = Breaker(clock)
    for _ in range(FAILURES_MAX):
        breaker.failed("no answer")

    clock.advance(ASKED_AGAIN_AFTER_S)
    let_through = [breaker.lets_through(), breaker.lets_through()]
    breaker.succeeded()

    assert let_through == [True, False]
    assert breaker.lets_through()
    assert not breaker.is_open

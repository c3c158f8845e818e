"""What a turn adds to the sums."""

from __future__ import annotations

from msgspec.structs import replace

from codex_lb.control.domain.lease import Outcome, Timings, Usage
from codex_lb.control.domain.rollup import Cell, Sums, cell_of, hour_of, rolled_up, sums_of
from tests.support.clock import NOON
from tests.unit.control.leases import report


def test_a_turn_is_summed_up_with_all_it_used() -> None:
    line = replace(report("t"), cost_micro_usd=7, timings=Timings(first_output_s=0.25, total_s=1.5))

    assert cell_of(line) == Cell(hour_of(NOON), "a", "", "gpt-5.5")
    assert sums_of(line) == Sums(
        turns=1,
        input_tokens=100,
        cached_input_tokens=40,
        output_tokens=20,
        reasoning_tokens=5,
        cost_micro_usd=7,
        first_output_turns=1,
        first_output_ms=250,
        total_ms=1500,
    )


def test_cancelled_is_not_failed_and_unpriced_is_counted() -> None:
    outcomes = {outcome: sums_of(replace(report("t"), outcome=outcome)) for outcome in Outcome}

    assert [outcome for outcome, sums in outcomes.items() if sums.cancelled] == [Outcome.CANCELLED]
    assert [outcome for outcome, sums in outcomes.items() if not sums.failed] == [Outcome.COMPLETED, Outcome.CANCELLED]
    assert outcomes[Outcome.COMPLETED].unpriced_turns == 1
    assert sums_of(replace(report("t"), usage=None)).unpriced_turns == 0


def test_a_model_that_upstream_refused_is_not_told_apart() -> None:
    typed = report("t", model="whatever somebody typed")

    assert cell_of(replace(typed, outcome=Outcome.REJECTED)).model == ""
    assert cell_of(replace(typed, lease_id="", outcome=Outcome.REFUSED)).model == ""
    assert cell_of(replace(typed, outcome=Outcome.BROKEN)).model == "whatever somebody typed"


def test_what_is_impossible_is_not_added() -> None:
    absurd = replace(report("t"), usage=Usage(2**53, 0, 0, 0, 0), timings=Timings(float("nan"), total_s=-5))

    sums = sums_of(absurd)

    assert (sums.turns, sums.input_tokens, sums.total_ms) == (1, 0, 0)


def test_what_is_replaced_is_taken_out_where_it_was_added() -> None:
    guess, truth = replace(report("t"), outcome=Outcome.ABANDONED, usage=None), report("t")

    changes = rolled_up([truth], [guess])

    assert changes == {cell_of(truth): sums_of(truth) + -sums_of(guess)}

"""Whether what was measured is as it shall be."""

from __future__ import annotations

import pytest

from bench.measured import Measured
from bench.targets import TARGETS, Target, Verdict

MOST = Target("turn", "split", 3, of="floor")
LEAST = Target("carried", "2", 1.6, of="1", is_least=True)
PLAIN = Target("memory", "gateway", 80)


@pytest.mark.parametrize(("split", "verdict"), [(3.0, Verdict.HELD), (3.01, Verdict.MISSED)])
def test_a_bound_in_multiples_of_another_is_held_up_to_itself(split: float, verdict: Verdict) -> None:
    figures = {"turn": Measured({"split": [split], "floor": [1.0]})}

    assert MOST.verdict(figures) == verdict


@pytest.mark.parametrize(("both", "verdict"), [(1.6, Verdict.HELD), (1.5, Verdict.MISSED)])
def test_some_figures_shall_be_great(both: float, verdict: Verdict) -> None:
    assert LEAST.verdict({"carried": Measured({"1": [1.0], "2": [both]})}) == verdict


def test_a_bound_in_the_figures_own_unit_needs_nobody_beside_it() -> None:
    assert PLAIN.verdict({"memory": Measured({"gateway": [79.0]})}) == Verdict.HELD


def test_a_bound_may_be_set_by_another_figure() -> None:
    packed = Target("zstd", "split", 1.5, of="floor", where="body")
    figures = {"zstd": Measured({"split": [3.0], "floor": [1.0]}), "body": Measured({"floor": [2.0]})}

    assert packed.says() == "<= 1.5 x floor (body)"
    assert packed.reached(figures) == 1.5
    assert packed.reached({"zstd": figures["zstd"]}) is None


@pytest.mark.parametrize(
    "figures", [{}, {"turn": Measured({"floor": [1.0]})}, {"turn": Measured({"split": [1.0]})}, {"turn": Measured({})}]
)
def test_what_was_not_measured_is_not_run_and_never_held(figures: dict[str, Measured]) -> None:
    assert MOST.verdict(figures) == Verdict.NOT_RUN


def test_a_target_says_its_bound_in_words() -> None:
    said = [target.says() for target in (MOST, LEAST, PLAIN, Target("turn", "split", 1 / 12, of="litellm"))]

    assert said == ["<= 3 x floor", ">= 1.6 x 1", "<= 80", "<= 1/12 x litellm"]


def test_no_two_targets_bound_the_same() -> None:
    bounded = [(target.figure, target.subject, target.of) for target in TARGETS]

    assert len(set(bounded)) == len(bounded)

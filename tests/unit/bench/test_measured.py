"""What follows from rounds."""

from __future__ import annotations

import pytest

from bench.measured import Measured, Rounds, is_steady, least_rise, quantile, slope


def test_a_figure_is_the_median_of_its_rounds_and_nothing_for_a_subject_that_had_none() -> None:
    found = Measured({"split": [3.0, 1.0, 50.0]})

    assert found.value("split") == 3.0
    assert found.value("floor") is None


def test_a_ratio_is_taken_round_by_round_so_that_what_disturbs_a_round_disturbs_it_little() -> None:
    found = Measured({"split": [2.0, 20.0, 4.0], "floor": [1.0, 10.0, 1.0]})

    assert found.ratio("split", "floor") == 2.0


def test_subjects_with_different_numbers_of_rounds_are_compared_by_their_medians() -> None:
    found = Measured({"split": [4.0, 6.0], "floor": [1.0]})

    assert found.ratio("split", "floor") == 5.0


@pytest.mark.parametrize("floor", [[], [0.0]])
def test_there_is_no_ratio_to_what_was_not_measured_or_is_nothing(floor: list[float]) -> None:
    assert Measured({"split": [4.0], "floor": floor}).ratio("split", "floor") is None


def test_rounds_collect_what_every_subject_had() -> None:
    rounds = Rounds()

    for subject, value in (("a", 1.0), ("b", 5.0), ("a", 2.0)):
        rounds.add(subject, value)

    assert rounds.measured("a note") == Measured({"a": [1.0, 2.0], "b": [5.0]}, "a note")


def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed() -> None:
    values = [float(number) for number in range(100, 0, -1)]

    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50.0, 99.0, 7.0)


def test_a_quantile_of_nothing_is_no_figure() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("rounds", "steady"),
    [
        ([1.0, 1.1], False),  # too few to tell
        ([10.0, 11.0, 12.0], True),
        ([10.0, 14.0, 18.0], False),
        ([10.0, 99.0, 11.0, 10.0], True),  # one of four is an accident
        ([10.0, 99.0, 50.0, 10.0], False),
        ([0.1, 0.4, 0.5], True),  # far apart, but by an amount that nobody minds
    ],
)
def test_rounds_are_steady_when_they_agree_but_for_an_accident(rounds: list[float], *, steady: bool) -> None:
    assert is_steady(rounds, within=0.5) == steady


def test_a_slope_is_that_of_the_line_through_the_values() -> None:
    assert slope([1.0, 3.0, 5.0, 7.0]) == pytest.approx(2.0)
    assert slope([5.0, 5.0, 5.0]) == 0.0
    assert slope([4.0]) == 0.0


def test_a_heap_that_leaps_once_has_not_grown_where_it_grew_least() -> None:
    assert least_rise([5.0] * 6 + [9.0] * 6, 4) == 0.0


def test_a_leak_shows_in_every_stretch() -> None:
    assert least_rise([float(number) for number in range(12)], 4) == pytest.approx(4.0)


def test_a_stretch_is_never_longer_than_what_was_seen() -> None:
    assert least_rise([1.0, 2.0], 4) == pytest.approx(1.0)

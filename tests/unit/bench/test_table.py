"""How results are shown."""

from __future__ import annotations

from bench import names as n
from bench.measured import Measured
from bench.table import columns, figure, markdown, number, verdicts

SHORT = Measured({"split": [900.0], "gateway": [500.0], "floor": [300.0], "litellm": [18_000.0]})
IDLE = Measured({"gateway": [75.2], "all-in-one": [131.0]})


def test_a_figure_is_shown_with_its_ratio_to_the_floor_its_note_and_what_was_kept_last() -> None:
    lines = list(figure(n.SHORT, Measured(SHORT.rounds, "others used 1.2 of 2 cores"), Measured({"split": [1200.0]})))

    assert lines[0] == f"\n{n.SHORT}   (others used 1.2 of 2 cores)"
    assert lines[1].split() == ["split", "900", "3.00", "x", "floor", "was", "1,200"]
    assert lines[2].split() == ["gateway", "500", "1.67", "x", "floor"]


def test_memory_is_not_compared_with_the_floor() -> None:
    lines = list(figure(n.IDLE, Measured({"gateway": [75.2], "floor": [40.0]}), None))

    assert lines[1].split() == ["gateway", "75.2"]


def test_every_target_has_a_verdict_with_what_was_reached_now_and_last() -> None:
    rows = {(row[0], row[1]): row[2:] for row in verdicts({n.SHORT: SHORT}, {n.IDLE: IDLE})}

    assert rows[f"{n.SHORT}: split", "<= 3 x floor"] == ("3.000 x floor", "held", "-")
    assert rows[f"{n.SHORT}: split", "<= 1/12 x litellm"] == ("1/20 x litellm", "held", "-")
    assert rows[f"{n.IDLE}: gateway", "<= 80"] == ("-", "not run", "75.2")


def test_markdown_has_subjects_side_by_side_then_forms_then_targets() -> None:
    text = "\n".join(markdown({n.SHORT: SHORT, n.GATEWAYS: Measured({"1": [1000.0], "2": [1700.0]})}))

    side_by_side, forms, targets = text.split("\n\n")
    assert f"| {n.SHORT} | 900 (3.0 x) | 500 (1.7 x) | 300 | 18,000 (60.0 x) |" in side_by_side
    assert f"| {n.GATEWAYS} | 1: 1,000, 2: 1,700 |" in forms
    assert f"| {n.GATEWAYS}: 2 | >= 1.6 x 1 | 1.700 x 1 | held |" in targets


def test_numbers_have_three_digits_that_count_or_all_before_the_point() -> None:
    assert [number(value) for value in (12345.6, 123.4, 12.34, 1.234, -0.5, 0.0, None)] == [
        "12,346",
        "123",
        "12.3",
        "1.23",
        "-0.50",
        "0.00",
        "-",
    ]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(columns([("a", "bbb", "c"), ("dd", "e", "")])) == ["a   bbb  c", "dd  e"]

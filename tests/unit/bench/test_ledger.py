"""Results on disk."""

from __future__ import annotations

from pathlib import Path

from bench import ledger
from bench.ledger import Ledger, Now
from bench.measured import Measured

MONDAY, TUESDAY = (Now(at, commit, "a machine") for at, commit in (("mon", "aaa"), ("tue", "bbb")))
NOTHING = Ledger(machine="", figures={})


def test_a_figure_is_kept_with_when_and_at_which_commit_it_was_measured() -> None:
    kept = ledger.with_new(NOTHING, {"turn": Measured({"split": [1.0, 2.0]}, "quiet")}, MONDAY)

    assert kept["machine"] == "a machine"
    assert kept["figures"]["turn"] == {"at": "mon", "commit": "aaa", "note": "quiet", "rounds": {"split": [1.0, 2.0]}}


def test_figures_that_were_not_measured_again_stay_as_they_were() -> None:
    monday = ledger.with_new(
        NOTHING, {"turn": Measured({"split": [1.0]}), "memory": Measured({"split": [80.0]})}, MONDAY
    )

    tuesday = ledger.with_new(monday, {"turn": Measured({"split": [0.5]})}, TUESDAY)

    assert tuesday["figures"]["memory"] == monday["figures"]["memory"]
    assert ledger.figures_of(tuesday)["turn"] == Measured({"split": [0.5]})


def test_of_the_subjects_only_other_peoples_programs_stay_when_they_were_not_measured_again() -> None:
    rounds = {"split": [1.0], "all-in-one": [2.0], "litellm": [18.0]}
    monday = ledger.with_new(NOTHING, {"turn": Measured(rounds)}, MONDAY)

    tuesday = ledger.with_new(monday, {"turn": Measured({"split": [0.5]})}, TUESDAY)

    assert tuesday["figures"]["turn"]["rounds"] == {"split": [0.5], "litellm": [18.0]}


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "results" / "latest.json"

    ledger.keep({"turn": Measured({"split": [1 / 3]})}, MONDAY, file)

    assert ledger.figures_of(ledger.read(file)) == {"turn": Measured({"split": [0.333333]})}


def test_without_a_file_nothing_was_kept(tmp_path: Path) -> None:
    assert ledger.read(tmp_path / "latest.json") == NOTHING

"""How the ledger's commands read instants and write numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

import pytest

from codex_lb.allinone.admin.log_tables import count_text, usd
from codex_lb.allinone.admin.moments import instant_of
from codex_lb.allinone.admin.reports import bars
from codex_lb.allinone.admin.spreadsheet import Sheet
from codex_lb.allinone.failures import CommandError

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "instant"),
    [
        ("2h", "2026-05-04T10:00:00Z"),
        ("90 min", "2026-05-04T10:30:00Z"),
        ("7D", "2026-04-27T12:00:00Z"),
        ("2026-05-01", "2026-05-01T00:00:00Z"),
        ("2026-05-01T08:30+02:00", "2026-05-01T06:30:00Z"),
    ],
)
def test_instants_are_read_as_people_type_them(given: str, instant: str) -> None:
    read = instant_of(given, now=NOW)

    assert read is not None
    assert read.ToJsonString() == instant


@pytest.mark.parametrize("given", ["", "soon", "999999w", "2026-13-01"])
def test_what_is_no_instant_is_said_to_be_none(given: str) -> None:
    with pytest.raises(CommandError, match="is no time"):
        instant_of(given, now=NOW)


def test_amounts_are_short_and_exact_enough() -> None:
    assert [count_text(n) for n in (999, 1_200, 3_400_000, 5 * 10**9)] == ["999", "1.2k", "3.4M", "5.0G"]
    assert [usd(n) for n in (0, 132, 1_500_000, 920_100)] == ["0.0000", "0.000132", "1.5000", "0.9201"]


def test_bars_reach_from_nothing_to_the_highest() -> None:
    assert bars([0, 1, 50, 100]) == "·▁▄█"
    assert bars([0, 0]) == "··"
    assert bars([]) == ""


def test_what_clients_typed_is_no_formula_in_a_spreadsheet() -> None:
    file = StringIO()

    Sheet(file, ["a", "b", "c"]).add(['=HYPERLINK("x")', -5, None])

    assert file.getvalue() == 'a,b,c\n"\'=HYPERLINK(""x"")",-5,\n'

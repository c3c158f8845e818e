"""How sums become what people are shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from codex_lb.control.domain.report import added, days, hours_between, series, split, start_of_day
from codex_lb.control.domain.rollup import Sums, hour_of, start_of_hour

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("start", range(47, 75))
def test_a_stretch_is_split_into_whole_days_and_the_hours_around_them(start: int) -> None:
    for stop in range(start, 130):
        parts = split(range(start, stop))

        inside = [hour for day in parts.days for hour in range(day * 24, day * 24 + 24)]
        assert [*parts.head, *inside, *parts.tail] == list(range(start, stop))


def test_a_series_has_a_bucket_for_every_step_also_where_nothing_happened() -> None:
    buckets = series({10: Sums(1), 11: Sums(2), 17: Sums(4)}, range(10, 22), step=6)

    assert [(bucket.starts_at, bucket.sums.turns) for bucket in buckets] == [
        (start_of_hour(10), 3),
        (start_of_hour(16), 4),
    ]


def test_a_day_is_a_calendar_day_where_the_reader_is_also_when_clocks_change() -> None:
    since, until = (
        start_of_day(datetime(2026, 3, 30, 12, tzinfo=UTC), BERLIN, days_before=2),
        datetime(2026, 3, 30, 0, tzinfo=BERLIN),
    )
    hours = hours_between(since, until)

    told = days({hour: Sums(1) for hour in hours}, hours, BERLIN)

    assert [(bucket.starts_at.isoformat(), bucket.sums.turns) for bucket in told] == [
        ("2026-03-28T00:00:00+01:00", 24),
        ("2026-03-29T00:00:00+01:00", 23),
    ]


def test_hours_are_all_those_a_stretch_touches() -> None:
    ten = start_of_hour(10)

    assert hours_between(ten, ten + timedelta(hours=2)) == range(10, 12)
    assert hours_between(ten + timedelta(minutes=59), ten + timedelta(hours=2, seconds=1)) == range(10, 13)
    assert hour_of(ten - timedelta(microseconds=1)) == 9


def test_nothing_added_up_is_nothing() -> None:
    assert added([]) == Sums()
    assert added([Sums(1, 2), -Sums(1, 2)]) == Sums()

"""Shows what was spent: lately, over any stretch of time, and day by day. Answered from sums, however long the log is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from codex_lb.control.domain.report import (
    Bucket,
    Facet,
    Only,
    added,
    days,
    hours_between,
    series,
    start_of_day,
)
from codex_lb.control.domain.rollup import HOURS_PER_DAY, Sums, hour_of, start_of_hour
from codex_lb.control.errors import InvalidQueryError
from codex_lb.control.usecases.ports import Store
from codex_lb.kit.clock import Clock

OVERVIEWS = {1: 1, 7: 6, 30: 24}  # days shown: hours per bucket
OVERVIEW_DAYS = 7
REPORT_DAYS = 7  # where no stretch is named
REPORT_DAYS_MAX = 730
REPORT_HOURS_MAX = 31 * HOURS_PER_DAY
TREND_DAYS = 28
TREND_DAYS_MAX = 92
ROWS_MAX = 1000  # names; more than anybody reads, and what a message can carry


class GroupBy(StrEnum):
    """What the rows of a report stand for."""

    HOUR = "hour"
    DAY = "day"
    ACCOUNT = "account"
    API_KEY = "api_key"
    MODEL = "model"


FACETS = {GroupBy.ACCOUNT: Facet.ACCOUNT, GroupBy.API_KEY: Facet.API_KEY, GroupBy.MODEL: Facet.MODEL}


@dataclass(frozen=True, slots=True)
class Overview:
    """What was spent lately."""

    hours: range
    sums: Sums
    before: Sums | None  # None: the sums do not go back that far
    buckets: Sequence[Bucket]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a report."""

    name: str
    starts_at: datetime | None
    sums: Sums


@dataclass(frozen=True, slots=True)
class Report:
    """What was spent over a stretch of time."""

    hours: range
    rows: Sequence[Row]
    total: Sums


@dataclass(frozen=True, slots=True)
class Trend:
    """What somebody spent on each day."""

    name: str
    days: Sequence[Sums]
    total: Sums


class ViewReports:
    """The verbs. Each raises InvalidQueryError with the field's name, and StoreUnavailableError."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def overview(self, *, days_back: int) -> Overview:
        """The last days up to now, beside as many before them."""
        days_back = days_back or OVERVIEW_DAYS
        step = OVERVIEWS.get(days_back)
        if step is None:
            raise InvalidQueryError("days must be 1, 7 or 30.")
        stop = hour_of(self._clock.now()) + 1
        length = days_back * HOURS_PER_DAY
        shown, before = range(stop - length, stop), range(stop - 2 * length, stop - length)
        async with self._store.begin(writing=False) as unit:
            per_hour = await unit.rollups.per_hour(range(before.start, shown.stop), Only())
            first = await unit.rollups.first_hour()
        reaches_back = first is not None and first <= before.start
        return Overview(
            hours=shown,
            sums=_of(per_hour, shown),
            before=_of(per_hour, before) if reaches_back else None,
            buckets=series(per_hour, shown, step=step),
        )

    async def report(
        self, only: Only, by: GroupBy, *, since: datetime | None, until: datetime | None, time_zone: str
    ) -> Report:
        """Sums by whatever is asked for."""
        zone = zone_of(time_zone)
        since = since or start_of_day(until or self._clock.now(), zone, days_before=REPORT_DAYS - 1)
        until = until or start_of_hour(hour_of(self._clock.now()) + 1)
        hours = _checked(since, until, by)
        if facet := FACETS.get(by):
            async with self._store.begin(writing=False) as unit:
                per_name = await unit.rollups.per_name(hours, only, facet)
            named = [Row(name, None, sums) for name, sums in per_name.items()]
            return Report(hours, sorted(named, key=_dearest_first)[:ROWS_MAX], added(per_name.values()))
        async with self._store.begin(writing=False) as unit:
            per_hour = await unit.rollups.per_hour(hours, only)
        buckets = series(per_hour, hours, step=1) if by is GroupBy.HOUR else days(per_hour, hours, zone)
        return Report(hours, [Row("", one.starts_at, one.sums) for one in buckets], added(per_hour.values()))

    async def trends(self, only: Only, by: GroupBy, *, days_back: int) -> tuple[datetime, Sequence[Trend]]:
        """When the first day starts, and a series for everybody who spent something on one of them."""
        days_back = days_back or TREND_DAYS
        facet = FACETS.get(by)
        if facet is None or days_back > TREND_DAYS_MAX:
            raise InvalidQueryError(f"group_by must name accounts, keys or models, and days {TREND_DAYS_MAX} at most.")
        since = start_of_day(self._clock.now(), UTC, days_before=days_back - 1)
        first = hour_of(since) // HOURS_PER_DAY
        async with self._store.begin(writing=False) as unit:
            per_day = await unit.rollups.per_day(range(first, first + days_back), only, facet)
        by_name: dict[str, list[Sums]] = defaultdict(lambda: [Sums()] * days_back)
        for (name, day), sums in per_day.items():
            by_name[name][day - first] = sums
        trends = [Trend(name, sums, added(sums)) for name, sums in by_name.items()]
        return since, sorted(trends, key=lambda one: _dearest_first(Row(one.name, None, one.total)))[:ROWS_MAX]


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name. Raises InvalidQueryError."""
    try:
        return ZoneInfo(name or "UTC")
    except (KeyError, ValueError, OSError) as error:
        raise InvalidQueryError(f"time_zone {name[:100]!r} is none that is known here.") from error


def _checked(since: datetime, until: datetime, by: GroupBy) -> range:
    if until <= since:
        raise InvalidQueryError("until must be later than since.")
    hours = hours_between(since, until)
    hours_max = REPORT_HOURS_MAX if by is GroupBy.HOUR else REPORT_DAYS_MAX * HOURS_PER_DAY
    if len(hours) > hours_max + 1:
        raise InvalidQueryError(f"until may be {hours_max // HOURS_PER_DAY} days later than since.")
    return hours


def _of(per_hour: Mapping[int, Sums], hours: range) -> Sums:
    return added(sums for hour, sums in per_hour.items() if hour in hours)


def _dearest_first(row: Row) -> tuple[int, int, str]:
    return -row.sums.cost_micro_usd, -row.sums.turns, row.name


def bounds(hours: range) -> tuple[datetime, datetime]:
    """When a stretch of hours begins and ends."""
    return start_of_hour(hours.start), start_of_hour(hours.stop)

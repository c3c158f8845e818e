"""What people ask the request log and its sums. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum

from codex_lb.control.domain.lease import Outcome
from codex_lb.control.domain.rollup import HOURS_PER_DAY, Sums, hour_of, start_of_hour


class Facet(StrEnum):
    """What sums are told apart by."""

    ACCOUNT = "account_id"
    API_KEY = "api_key_id"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Only:
    """Which turns are meant; an empty tuple means all."""

    account_ids: tuple[str, ...] = ()
    api_key_ids: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def names(self, facet: Facet) -> tuple[str, ...]:
        """Those of one facet."""
        return {Facet.ACCOUNT: self.account_ids, Facet.API_KEY: self.api_key_ids, Facet.MODEL: self.models}[facet]

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not (self.account_ids or self.api_key_ids or self.models)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which lines of the log are meant."""

    only: Only = Only()
    outcomes: tuple[Outcome, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    session_id: str = ""
    text: str = ""  # found anywhere in the ids, the fault, the client and the route, whatever its case


@dataclass(frozen=True, slots=True)
class Place:
    """A line's place in the log, newest first; what lies behind it is older."""

    started_at: datetime
    turn_id: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """A stretch of a series, and what was spent in it."""

    starts_at: datetime
    sums: Sums


@dataclass(frozen=True, slots=True)
class Split:
    """A stretch of hours as whole days with the hours before and behind them, so that few rows add up to it."""

    head: range
    days: range
    tail: range


def split(hours: range) -> Split:
    """The whole days of a stretch, and the rest in hours."""
    first_day = -(-hours.start // HOURS_PER_DAY)
    last_day = hours.stop // HOURS_PER_DAY
    if first_day >= last_day:
        return Split(hours, range(0), range(0))
    return Split(
        range(hours.start, first_day * HOURS_PER_DAY),
        range(first_day, last_day),
        range(last_day * HOURS_PER_DAY, hours.stop),
    )


def hours_between(since: datetime, until: datetime) -> range:
    """Every hour that a stretch of time touches."""
    last = hour_of(until)
    return range(hour_of(since), last + (until > start_of_hour(last)))


def series(per_hour: Mapping[int, Sums], hours: range, *, step: int) -> list[Bucket]:
    """Buckets of so many hours each, also where nothing happened."""
    starts = range(hours.start, hours.stop, step)
    return [
        Bucket(start_of_hour(start), added(per_hour[h] for h in range(start, start + step) if h in per_hour))
        for start in starts
    ]


def days(per_hour: Mapping[int, Sums], hours: range, zone: tzinfo) -> list[Bucket]:
    """Buckets of calendar days somewhere, also those without a turn. Hours belong to the day they begin in."""
    by_day: dict[datetime, Sums] = defaultdict(Sums)
    for hour in hours:
        local = start_of_hour(hour).astimezone(zone)
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        by_day[day] += per_hour.get(hour, Sums())
    return [Bucket(day, by_day[day]) for day in sorted(by_day)]


def start_of_day(instant: datetime, zone: tzinfo, *, days_before: int = 0) -> datetime:
    """When the calendar day somewhere began, or one before it."""
    day = instant.astimezone(zone).date() - timedelta(days=days_before)
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def added(sums: Iterable[Sums]) -> Sums:
    """All of them together."""
    return sum(sums, Sums())

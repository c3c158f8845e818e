"""Instants as people type them: `2h` ago, a date, a date with a time. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from codex_lb.allinone.failures import CommandError

AGO = re.compile(r"(\d{1,6})\s*(min|m|h|d|w)")
UNITS = {"min": "minutes", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def instant_of(given: str | None, *, now: datetime) -> Timestamp | None:
    """The instant; None where none is given. A date without a zone is in UTC. Raises CommandError."""
    if given is None:
        return None
    stamp = Timestamp()
    try:
        stamp.FromDatetime(_read(given.strip(), now=now))
    except (ValueError, OverflowError) as error:
        raise CommandError(f"{given} is no time: say 2h, 7d, 2026-11-20 or 2026-11-20T08:30.") from error
    return stamp


def _read(given: str, *, now: datetime) -> datetime:
    if ago := AGO.fullmatch(given.lower()):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    instant = datetime.fromisoformat(given)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)

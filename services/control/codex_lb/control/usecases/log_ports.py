"""What the request log and its reports need from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.lease import TurnReport
from codex_lb.control.domain.report import Asked, Facet, Only, Place
from codex_lb.control.domain.rollup import Sums


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of the log, newest first, and where to go on looking; None at the end."""

    lines: Sequence[TurnReport]
    behind: Place | None


class RequestLog(Protocol):
    """The lines of turns, for people."""

    async def page(self, asked: Asked, *, behind: Place | None, lines_max: int) -> Lines:
        """The next lines. A bounded number of them is looked at, so there may be none on a page with more behind it."""
        ...

    async def purge(self, *, before: datetime, rows_max: int) -> int:
        """Deletes lines and attempts from before then, so many of each at the most; returns how many it were."""
        ...


class Rollups(Protocol):
    """Sums of turns. Stretches are given in hours, or days, since 1970 in UTC."""

    async def per_hour(self, hours: range, only: Only) -> Mapping[int, Sums]:
        """Of every hour in which there was something."""
        ...

    async def per_day(self, days: range, only: Only, by: Facet) -> Mapping[tuple[str, int], Sums]:
        """Of every name and day."""
        ...

    async def per_name(self, hours: range, only: Only, by: Facet) -> Mapping[str, Sums]:
        """Of every name, over the whole stretch."""
        ...

    async def first_hour(self) -> int | None:
        """Where the sums begin; None when there are none."""
        ...

"""Instants by name, the earliest first. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from datetime import datetime
from operator import itemgetter
from typing import Generic, TypeVar

K = TypeVar("K", bound=str)

_instant = itemgetter(0)


class Deadlines(Generic[K]):
    """At most one instant per name; moving one costs little however many there are."""

    def __init__(self) -> None:
        self._sorted: list[tuple[datetime, K]] = []
        self._of: dict[K, datetime] = {}

    @property
    def first(self) -> datetime | None:
        """The earliest."""
        return self._sorted[0][0] if self._sorted else None

    def set(self, name: K, at: datetime | None) -> None:
        """Replaces the instant of a name; None removes it."""
        before = self._of.get(name)
        if before == at:
            return
        if before is not None:
            del self._sorted[bisect_left(self._sorted, (before, name))]
            del self._of[name]
        if at is not None:
            insort(self._sorted, (at, name))
            self._of[name] = at

    def __contains__(self, name: K) -> bool:
        return name in self._of

    def __len__(self) -> int:
        return len(self._sorted)

    def until(self, at: datetime) -> list[tuple[datetime, K]]:
        """Those whose instant is no later than that."""
        return self._sorted[: bisect_right(self._sorted, at, key=_instant)]

    def passed(self, now: datetime) -> list[K]:
        """Removes and returns those whose instant has come."""
        due = [name for _, name in self._sorted[: bisect_right(self._sorted, now, key=_instant)]]
        del self._sorted[: len(due)]
        for name in due:
            del self._of[name]
        return due

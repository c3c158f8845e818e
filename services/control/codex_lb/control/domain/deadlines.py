"""Instants by account, the earliest first. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from datetime import datetime

from codex_lb.control.domain.ids import AccountId


class Deadlines:
    """At most one instant per account; moving one costs little however many there are."""

    def __init__(self) -> None:
        self._sorted: list[tuple[datetime, AccountId]] = []
        self._of: dict[AccountId, datetime] = {}

    @property
    def first(self) -> datetime | None:
        """The earliest."""
        return self._sorted[0][0] if self._sorted else None

    def set(self, account_id: AccountId, at: datetime | None) -> None:
        """Replaces the account's instant; None removes it."""
        before = self._of.get(account_id)
        if before == at:
            return
        if before is not None:
            del self._sorted[bisect_left(self._sorted, (before, account_id))]
            del self._of[account_id]
        if at is not None:
            insort(self._sorted, (at, account_id))
            self._of[account_id] = at

    def passed(self, now: datetime) -> list[AccountId]:
        """Removes and returns those whose instant has come."""
        due = [
            account_id for _, account_id in self._sorted[: bisect_left(self._sorted, (now, AccountId("\U0010ffff")))]
        ]
        del self._sorted[: len(due)]
        for account_id in due:
            del self._of[account_id]
        return due

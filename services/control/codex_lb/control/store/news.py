"""Which evidence is worth a row. Pure, but for what `Sieve` remembers of this process's own rows.

Every turn shows the same windows and that the account serves; a row for each would double the log for nothing. What
repeats the last stored row is left out for some minutes. The standing that follows from the stored rows stays the same,
because everything is kept until it is well after the newest refusal, the only thing that dates are compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from codex_lb.control.domain.evidence import (
    NEW_WINDOW_FROM,
    USAGE_LAG,
    CreditsSeen,
    Evidence,
    QuotaSeen,
    Record,
    Served,
    UsageSeen,
)
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.window import Window

KEPT_EVERY = timedelta(minutes=5)  # how far apart rows that say the same may be; charts need no more
USED_PERCENT_NOISE = 0.5  # less than a chart can show


def says_something_new(evidence: Evidence, stored: Record) -> bool:
    """Whether evidence adds to what is stored of its account."""
    match evidence:
        case UsageSeen(window=window):
            last = stored.usage.get(window.kind)
            return last is None or _is_due(evidence, last, stored) or _differs(window, last.window)
        case QuotaSeen():
            return False  # nothing is decided by it, and it is seen anew within a minute of a start
        case CreditsSeen():
            return stored.credits is None or replace(evidence, observed_at=stored.credits.observed_at) != stored.credits
        case Served():
            return stored.served is None or _is_due(evidence, stored.served, stored)
        case _:
            return True


class Sieve:
    """Remembers the newest rows this process has committed; after a start everything is new once."""

    def __init__(self) -> None:
        self._stored: dict[AccountId, Record] = {}

    def news(
        self, rows: Iterable[tuple[AccountId, Evidence]], pending: dict[AccountId, Record]
    ) -> list[tuple[AccountId, Evidence]]:
        """Those worth a row, given what is stored and what the present transaction has `pending`, which grows by them."""
        kept: list[tuple[AccountId, Evidence]] = []
        for account_id, evidence in rows:
            record = pending.get(account_id) or self._stored.get(account_id, Record())
            if says_something_new(evidence, record):
                pending[account_id] = record.joined(evidence)
                kept.append((account_id, evidence))
        return kept

    def remember(self, committed: Mapping[AccountId, Record]) -> None:
        """What was pending is stored."""
        self._stored.update(committed)


def _is_due(evidence: UsageSeen | Served, last: UsageSeen | Served, stored: Record) -> bool:
    is_long_ago = abs(evidence.observed_at - last.observed_at) >= KEPT_EVERY
    return is_long_ago or any(_may_be_compared(refusal.observed_at, last) for refusal in stored.refusals.values())


def _may_be_compared(refused_at: datetime, last: UsageSeen | Served) -> bool:
    return last.observed_at - refused_at <= USAGE_LAG


def _differs(window: Window, last: Window) -> bool:
    if window.resets_at is None or last.resets_at is None:
        has_moved = window.resets_at is not last.resets_at
    else:
        has_moved = abs(window.resets_at - last.resets_at) > NEW_WINDOW_FROM
    return (
        has_moved
        or window.length_s != last.length_s
        or abs(window.used_percent - last.used_percent) >= USED_PERCENT_NOISE
        or (window.used_percent >= 100) != (last.used_percent >= 100)
    )

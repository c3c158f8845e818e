"""Upstream's accounting windows and what is left in them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

DAY_S = 86_400.0
WEEKLY_ONLY_FROM_S = 2 * DAY_S  # a "primary" window this long is the weekly one of a plan that has no 5 h window
MONTHLY_FROM_S = 20 * DAY_S  # free plans report about 30 days


class WindowKind(StrEnum):
    """Which of upstream's windows."""

    PRIMARY = "primary"  # 5 hours
    SECONDARY = "secondary"  # a week
    MONTHLY = "monthly"


class Window(Struct, frozen=True):
    """One accounting window as it was seen at a moment."""

    kind: WindowKind
    used_percent: float  # 0 to 100
    length_s: float
    resets_at: datetime | None

    def used_percent_at(self, now: datetime) -> float:
        """Share used at a later moment: a window that has started anew is empty."""
        return 0.0 if self.resets_at is not None and self.resets_at <= now else self.used_percent


def true_kind(named: WindowKind, length_s: float) -> WindowKind:
    """The window that a length belongs to, whatever slot upstream reported it in (data-plane reference 2.8)."""
    if length_s >= MONTHLY_FROM_S:
        return WindowKind.MONTHLY
    if named is WindowKind.PRIMARY and length_s >= WEEKLY_ONLY_FROM_S:
        return WindowKind.SECONDARY
    return named

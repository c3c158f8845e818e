"""What an API key may use: how much of what, in which period. Pure.

A window has a fixed length and begins anew when the last one ends, counted from the moment the key was made; where it
stands follows from the present instant alone. An operator's reset begins the count of the present window anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from msgspec import Struct

LIMITS_MAX = 32  # of one key; every unit in every window, and some models
AMOUNT_MAX = 2**53  # what JSON carries exactly


class LimitUnit(StrEnum):
    """What is counted."""

    TOTAL_TOKENS = "total_tokens"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    COST_USD = "cost_usd"  # in micro-dollars
    REQUESTS = "requests"


class LimitWindow(StrEnum):
    """The period it is counted over."""

    FIVE_HOURS = "5h"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


LENGTH = {
    LimitWindow.FIVE_HOURS: timedelta(hours=5),
    LimitWindow.DAY: timedelta(days=1),
    LimitWindow.WEEK: timedelta(days=7),
    LimitWindow.MONTH: timedelta(days=30),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a key."""

    limit_id: str
    unit: LimitUnit
    window: LimitWindow
    model: str  # empty for all
    amount_max: int
    begins_at: datetime  # where its first window began; the key's own beginning
    reset_at: datetime | None = None  # when an operator last began the count anew

    @property
    def identity(self) -> tuple[LimitUnit, LimitWindow, str]:
        """What a key has at most one limit of."""
        return self.unit, self.window, self.model

    def applies_to(self, model: str) -> bool:
        """Whether a turn with this model counts; one with no model counts where all do."""
        return not self.model or self.model == model

    def window_at(self, now: datetime) -> datetime:
        """When the window began that is open now."""
        length = LENGTH[self.window]
        return self.begins_at + (now - self.begins_at) // length * length

    def resets_at(self, now: datetime) -> datetime:
        """When it ends."""
        return self.window_at(now) + LENGTH[self.window]

    def counts_since(self, now: datetime) -> datetime:
        """From when on turns count: the window's beginning, or a reset inside it."""
        window = self.window_at(now)
        return window if self.reset_at is None else max(window, self.reset_at)


class Amounts(Struct, frozen=True):
    """What a turn used, or may use, in every unit that can be limited."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cost_micro_usd: int = 0

    def of(self, unit: LimitUnit) -> int:
        """The amount in one unit."""
        match unit:
            case LimitUnit.TOTAL_TOKENS:
                return self.total_tokens
            case LimitUnit.INPUT_TOKENS:
                return self.input_tokens
            case LimitUnit.OUTPUT_TOKENS:
                return self.output_tokens
            case LimitUnit.COST_USD:
                return self.cost_micro_usd
            case LimitUnit.REQUESTS:
                return self.requests
            case _:
                assert_never(unit)


def fits(amount: int, *, used: int, reserved: int, amount_max: int) -> bool:
    """Whether a turn that may use this much is let through.

    What is used and reserved must leave room for it. The rest of a limit that is too small for any estimate goes to one
    turn at a time, or it could never be used at all.
    """
    return used < amount_max and (reserved == 0 or used + reserved + amount <= amount_max)

"""What reports add up: sums of turns per hour, by account, key and model. Pure.

A turn is added when its line is written, and taken out again when a better line replaces that one. Everything is a whole
number, so that what is taken out is exactly what was added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from operator import add, attrgetter, neg

from msgspec import Struct

from codex_lb.control.domain.lease import Outcome, TurnReport
from codex_lb.control.domain.pricing import TURN_TOKENS_MAX

HOURS_PER_DAY = 24
MODEL_CHARS_MAX = 100
TIMED_S_MAX = 7 * 86_400.0  # longer than any turn; a clock that jumped must not spoil an average for ever
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cell(Struct, frozen=True):
    """What is summed up together."""

    hour: int  # since 1970, of the turn's start
    account_id: str  # empty for turns that no account served
    api_key_id: str
    model: str


class Sums(Struct, frozen=True):
    """Of the turns of a cell, or of several."""

    turns: int = 0
    failed: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_micro_usd: int = 0
    unpriced_turns: int = 0  # used tokens, and have no price
    first_output_turns: int = 0
    first_output_ms: int = 0
    total_ms: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*map(add, amounts_of(self), amounts_of(other)))

    def __neg__(self) -> Sums:
        return Sums(*map(neg, amounts_of(self)))

    @property
    def total_tokens(self) -> int:
        """Of input and output."""
        return self.input_tokens + self.output_tokens


SUMS = Sums.__struct_fields__
amounts_of: Callable[[Sums], tuple[int, ...]] = attrgetter(*SUMS)


def rolled_up(written: Iterable[TurnReport], taken_out: Iterable[TurnReport]) -> Mapping[Cell, Sums]:
    """What lines that were written, and lines that they replaced, change."""
    changes: dict[Cell, Sums] = {}
    for lines, is_out in ((written, False), (taken_out, True)):
        for line in lines:
            sums = sums_of(line)
            cell = cell_of(line)
            held = changes.get(cell)
            change = -sums if is_out else sums
            changes[cell] = change if held is None else held + change
    return changes


def cell_of(line: TurnReport) -> Cell:
    """Where a turn is summed up. A model that nobody served may be anything somebody typed, and is not told apart."""
    is_served = line.lease_id and line.outcome is not Outcome.REJECTED
    model = line.model[:MODEL_CHARS_MAX] if is_served else ""
    return Cell(hour_of(line.started_at), line.account_id, line.api_key_id, model)


def sums_of(line: TurnReport) -> Sums:
    """A turn as a sum of one."""
    usage, timings = line.usage, line.timings
    if usage is not None and usage.input_tokens + usage.output_tokens + usage.reasoning_tokens > TURN_TOKENS_MAX:
        usage = None  # no turn is like that; see its line
    first_output_s = timings.first_output_s
    return Sums(
        turns=1,
        failed=int(line.outcome not in (Outcome.COMPLETED, Outcome.CANCELLED)),
        cancelled=int(line.outcome is Outcome.CANCELLED),
        input_tokens=usage.input_tokens if usage else 0,
        cached_input_tokens=min(usage.cached_input_tokens, usage.input_tokens) if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
        reasoning_tokens=usage.reasoning_tokens if usage else 0,
        cost_micro_usd=(line.cost_micro_usd or 0) if usage else 0,
        unpriced_turns=int(line.usage is not None and line.cost_micro_usd is None),
        first_output_turns=int(first_output_s is not None),
        first_output_ms=_ms(first_output_s),
        total_ms=_ms(timings.total_s),
    )


def hour_of(instant: datetime) -> int:
    """The hour since 1970 that an instant lies in."""
    return (instant - EPOCH) // timedelta(hours=1)


def start_of_hour(hour: int) -> datetime:
    """When an hour begins."""
    return EPOCH + timedelta(hours=hour)


def _ms(seconds: float | None) -> int:
    if seconds is None or not math.isfinite(seconds):
        return 0
    return round(min(max(seconds, 0.0), TIMED_S_MAX) * 1000)

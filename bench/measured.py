"""A figure as it was measured, and what follows from it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

STEADY_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What every subject had, round by round; the note says what should be known beside it."""

    rounds: Mapping[str, Sequence[float]]  # by subject, or part of one
    note: str = ""

    def value(self, subject: str) -> float | None:
        """The median of its rounds; None when it was not measured."""
        rounds = self.rounds.get(subject)
        return median(rounds) if rounds else None

    def ratio(self, subject: str, of: str) -> float | None:
        """How many times another's: round by round where they took turns, because what disturbs a round disturbs both."""
        mine, others = self.rounds.get(subject), self.rounds.get(of)
        if not mine or not others or not all(others):
            return None
        if len(mine) != len(others):
            return median(mine) / median(others)
        return median(one / other for one, other in zip(mine, others, strict=True))


Figures = dict[str, Measured]  # by the figure's name


@dataclass(slots=True)
class Rounds:
    """Collects what is seen."""

    seen: dict[str, list[float]] = field(default_factory=dict)

    def add(self, subject: str, value: float) -> None:
        """Another round of a subject."""
        self.seen.setdefault(subject, []).append(value)

    def measured(self, note: str = "") -> Measured:
        """All of it."""
        return Measured(self.seen, note)


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so many of a hundred do not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("nothing was measured")
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def is_steady(rounds: Sequence[float], *, within: float, share: float = 0.25) -> bool:
    """Whether rounds agree: within a share of their middle, or within an amount that nobody minds.

    One of four may be an accident.
    """
    middle = median(rounds)
    nearest = sorted(rounds, key=lambda value: abs(value - middle))[: math.ceil(len(rounds) * 3 / 4)]
    return len(nearest) >= STEADY_ROUNDS and max(nearest) - min(nearest) <= max(within, share * abs(middle))


def slope(values: Sequence[float]) -> float:
    """By how much a line through equally spaced values rises from one to the next: least squares."""
    middle, mean = (len(values) - 1) / 2, sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread if spread else 0.0


def least_rise(values: Sequence[float], steps: int) -> float:
    """What so many steps in a row add where they add least: what leaks does so everywhere, a heap grows by leaps."""
    windows = [values[first : first + steps + 1] for first in range(max(1, len(values) - steps))]
    return min(slope(window) * (len(window) - 1) for window in windows)

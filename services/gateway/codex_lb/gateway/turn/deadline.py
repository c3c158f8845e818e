"""The one deadline of a turn: when its client must be told that it lives, and when it has taken too long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Due(Enum):
    """What a moment of silence calls for."""

    NOTHING = auto()
    KEEP_ALIVE = auto()
    IDLE_TIMEOUT = auto()
    BUDGET_SPENT = auto()


@dataclass(slots=True)
class Deadline:
    """Instants are monotonic seconds; spans are seconds."""

    started: float
    budget_s: float
    idle_s: float
    keepalive_s: float
    heard: float = 0.0  # when upstream last said something
    told: float = 0.0  # when the client was last sent something

    def __post_init__(self) -> None:
        self.heard = self.told = self.started

    def due(self, now: float) -> Due:
        """What is due now, the gravest first."""
        if now >= self.started + self.budget_s:
            return Due.BUDGET_SPENT
        if now >= self.heard + self.idle_s:
            return Due.IDLE_TIMEOUT
        if now >= self.told + self.keepalive_s:
            return Due.KEEP_ALIVE
        return Due.NOTHING

    def next_check_s(self, now: float) -> float:
        """How long nothing can become due."""
        first = min(self.started + self.budget_s, self.heard + self.idle_s, self.told + self.keepalive_s)
        return max(0.01, first - now)

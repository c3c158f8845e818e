"""The one deadline of a turn: when its client must be told that it lives, and when it has taken too long."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

CHECK_S = 10.0  # how often a client that does not read is looked at


class Due(Enum):
    """What a moment of silence calls for."""

    NOTHING = auto()
    KEEP_ALIVE = auto()
    IDLE_TIMEOUT = auto()
    CLIENT_STALLED = auto()
    BUDGET_SPENT = auto()


@dataclass(slots=True)
class Deadline:
    """Instants are monotonic seconds; spans are seconds."""

    started: float
    budget_s: float
    idle_s: float
    keepalive_s: float
    stall_s: float = 300.0  # how long a client may leave unread what it was sent
    heard: float = 0.0  # when upstream last said something
    told: float = 0.0  # when the client was last sent something
    giving_since: float | None = None  # set while the client is being sent something

    def __post_init__(self) -> None:
        self.heard = self.told = self.started

    def due(self, now: float) -> Due:
        """What is due now, the gravest first."""
        if now >= self.started + self.budget_s:
            return Due.BUDGET_SPENT
        if self.giving_since is not None:
            # Upstream is not heard because the client does not read: silence is not upstream's, nor is it ours to break.
            return Due.CLIENT_STALLED if now >= self.giving_since + self.stall_s else Due.NOTHING
        if now >= self.heard + self.idle_s:
            return Due.IDLE_TIMEOUT
        if now >= self.told + self.keepalive_s:
            return Due.KEEP_ALIVE
        return Due.NOTHING

    def next_check_s(self, now: float) -> float:
        """How long nothing can become due."""
        if self.giving_since is not None:
            return max(0.01, min(self.started + self.budget_s, self.giving_since + self.stall_s, now + CHECK_S) - now)
        first = min(self.started + self.budget_s, self.heard + self.idle_s, self.told + self.keepalive_s)
        return max(0.01, first - now)

"""Time as an argument: whoever needs to know what time it is receives a Clock, so that tests own the time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two readings: one for instants that people and other machines see, one for durations."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC. May jump when the machine's time is corrected."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment. Never jumps, means nothing outside this process."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

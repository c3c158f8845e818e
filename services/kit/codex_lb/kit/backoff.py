"""How long to wait before the next attempt. Pure: randomness comes in as an argument."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow by `factor` from `first_s` to `max_s`, each shortened by up to the share `jitter`.

    Jitter shortens and never lengthens, so `max_s` holds, and a herd that failed together does not return together.
    """

    first_s: float
    max_s: float
    factor: float = 2.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        """Raises ValueError for values that describe no backoff."""
        if not (0 < self.first_s <= self.max_s and self.factor >= 1 and 0 <= self.jitter <= 1):
            raise ValueError(f"needs 0 < first_s <= max_s, factor >= 1 and jitter between 0 and 1: {self}")

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait after failed attempt number `attempt` (the first is 0), given `random` in [0, 1)."""
        return self._unjittered(attempt) * (1 - self.jitter * random)

    def _unjittered(self, attempt: int) -> float:
        # Compared as logarithms: after hours of failing, factor ** attempt no longer fits a float.
        if attempt * math.log(self.factor) >= math.log(self.max_s / self.first_s):
            return self.max_s
        return self.first_s * self.factor**attempt

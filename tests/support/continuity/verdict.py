"""What a sequence came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.support.continuity.judge import Excuse


@dataclass
class Verdict:
    """Of one sequence, or of many added up."""

    seed: int = -1
    turns: int = 0
    attempts: int = 0
    failures: int = 0  # attempts that a client was told had failed, or left because nothing came
    moves: int = 0  # turns that another account served than the one before
    healed: int = 0  # times a WebSocket client resent everything without a word
    calls: int = 0
    excused: Counter[Excuse] = field(default_factory=Counter)  # failures twice running that could not be helped
    problems: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Adds the numbers of another."""
        self.turns += other.turns
        self.attempts += other.attempts
        self.failures += other.failures
        self.moves += other.moves
        self.healed += other.healed
        self.calls += other.calls
        self.excused += other.excused

    def told(self) -> str:
        """The numbers."""
        excused = ", ".join(f"{self.excused[why]} {why}" for why in Excuse)
        return (
            f"{self.turns} turns in {self.attempts} attempts and {self.calls} calls, {self.failures} failed, {self.moves} moved, "
            f"{self.healed} healed; twice running, which could not be helped: {excused}"
        )

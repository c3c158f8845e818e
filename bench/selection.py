"""CPU of one choice of an account, and of taking in what it changed, by strategy and size of the pool.

Run: python -m bench.selection
"""

from __future__ import annotations

import sys
import time
from random import Random

from msgspec.structs import replace

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.candidate import Candidate
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.roster import Roster
from codex_lb.control.domain.selection import Question, Rules
from codex_lb.control.domain.settings import Strategy

SIZES = (10, 1_000, 10_000)
CHOICES = 2_000
QUESTION = Question(plans=frozenset({"plus"}))


def main() -> None:
    """Prints a table in microseconds."""
    print(f"{'strategy':<20}" + "".join(f"{size:>12,}" for size in SIZES), file=sys.stdout)
    for strategy in Strategy:
        figures = "".join(f"{measured_us(strategy, size):>12.1f}" for size in SIZES)
        print(f"{strategy.value:<20}{figures}", file=sys.stdout)


def measured_us(strategy: Strategy, size: int) -> float:
    """CPU microseconds per choice, each followed by the change that a grant makes."""
    random = Random(1)
    roster = Roster(Rules(strategy, prefer_earlier_reset=True, single_account=AccountId("5")))
    for number in range(size):
        roster.put(account(str(number), random))
    started = time.process_time()
    for granted in range(CHOICES):
        chosen = roster.get(roster.choose(QUESTION, random.random()).account_id or AccountId(""))
        if chosen is not None:
            roster.put(replace(chosen, in_use=(chosen.in_use + 1) % chosen.slots, last_chosen=granted))
    return (time.process_time() - started) / CHOICES * 1e6


def account(name: str, random: Random) -> Candidate:
    """An account somewhere in its windows."""
    return Candidate(
        account_id=AccountId(name),
        status=AccountStatus.ACTIVE,
        until=None,
        is_probing=False,
        plan="plus",
        long_used_percent=random.random() * 100,
        short_used_percent=random.random() * 100,
        long_capacity=7560.0,
        in_use=0,
        slots=8,
    )


if __name__ == "__main__":
    main()

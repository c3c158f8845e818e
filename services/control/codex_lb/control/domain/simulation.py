"""Replays recorded decisions with other rules: who would have served whom. Pure.

What is known of the past is taken as it was: how full windows were seen to be, which accounts could not serve, which
turns were tied to an account. What the other rules would have used of the windows is not known; turns running at once are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import heappop, heappush

from msgspec import Struct
from msgspec.structs import replace

from codex_lb.control.domain.account import Account, AccountStatus, capacity
from codex_lb.control.domain.candidate import PASSING, Candidate
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Decision
from codex_lb.control.domain.roster import Roster
from codex_lb.control.domain.selection import Question, Rules
from codex_lb.control.domain.window import Window, WindowKind


class RecordedLease(Struct, frozen=True):
    """A lease that was granted, and how it came about."""

    account_id: AccountId
    granted_at: datetime
    ended_at: datetime
    decision: Decision


@dataclass(frozen=True, slots=True)
class Sample:
    """A window as it was seen."""

    account_id: AccountId
    window: Window
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class Share:
    """What an account had, or would have had."""

    leases: int
    busiest: int  # most leases at once


@dataclass(frozen=True, slots=True)
class Simulation:
    """What happened beside what would have."""

    leases: int
    tied: int
    unserved: int
    actual: Mapping[AccountId, Share]
    simulated: Mapping[AccountId, Share]


def simulate(
    leases: Sequence[RecordedLease],
    samples: Iterable[Sample],
    accounts: Iterable[Account],
    rules: Rules,
    *,
    slots: int,
    random: Callable[[], float],
) -> Simulation:
    """Replays the leases in the order in which they were granted. `random` gives numbers in [0, 1)."""
    replay = Replay(accounts, rules, slots=slots, random=random)
    actual = Tally()
    news = sorted(samples, key=lambda sample: sample.observed_at)
    place = tied = unserved = 0
    for lease in sorted(leases, key=lambda lease: lease.granted_at):
        while place < len(news) and news[place].observed_at <= lease.granted_at:
            replay.see(news[place])
            place += 1
        actual.end_until(lease.granted_at)
        actual.begin(lease.account_id, lease.ended_at)
        tied += bool(lease.decision.affinity)
        unserved += not replay.serve(lease)
    return Simulation(len(leases), tied, unserved, actual.shares(), replay.tally.shares())


class Tally:
    """Leases by account, and how many at once."""

    def __init__(self) -> None:
        self.running: Counter[AccountId] = Counter()
        self._leases: Counter[AccountId] = Counter()
        self._busiest: Counter[AccountId] = Counter()
        self._ends: list[tuple[datetime, AccountId]] = []  # a heap

    def begin(self, account_id: AccountId, ends_at: datetime) -> None:
        """One lease more."""
        self.running[account_id] += 1
        self._leases[account_id] += 1
        self._busiest[account_id] = max(self._busiest[account_id], self.running[account_id])
        heappush(self._ends, (ends_at, account_id))

    def end_until(self, now: datetime) -> list[AccountId]:
        """Ends what has ended by then; the accounts this concerns."""
        ended: list[AccountId] = []
        while self._ends and self._ends[0][0] <= now:
            account_id = heappop(self._ends)[1]
            self.running[account_id] -= 1
            ended.append(account_id)
        return ended

    def shares(self) -> dict[AccountId, Share]:
        """What each had."""
        return {account_id: Share(n, self._busiest[account_id]) for account_id, n in self._leases.items()}


class Replay:
    """The pool as the other rules would have had it."""

    def __init__(self, accounts: Iterable[Account], rules: Rules, *, slots: int, random: Callable[[], float]) -> None:
        self.tally = Tally()
        self._roster = Roster(rules)
        self._random = random
        self._granted = 0
        for account in accounts:
            self._roster.put(fresh(account, slots=slots))

    def see(self, sample: Sample) -> None:
        """A window was seen."""
        known = self._roster.get(sample.account_id)
        if known is None:
            return
        window = sample.window
        if window.kind is WindowKind.PRIMARY:
            changed = replace(known, short_used_percent=window.used_percent, short_resets_at=window.resets_at)
        else:
            changed = replace(known, long_used_percent=window.used_percent, long_resets_at=window.resets_at)
        self._roster.put(changed)

    def serve(self, lease: RecordedLease) -> bool:
        """Whether anybody would have served it; a turn that was tied to its account stays there."""
        for account_id in self.tally.end_until(lease.granted_at):
            self._take_in(account_id)
        chosen = lease.account_id if lease.decision.affinity else self._chosen(lease)
        if chosen is None:
            return False
        self._granted += 1
        self.tally.begin(chosen, lease.ended_at)
        self._take_in(chosen, last_chosen=self._granted)
        return True

    def _chosen(self, lease: RecordedLease) -> AccountId | None:
        out = {p.account_id: p.reason for p in lease.decision.passed_over if p.reason not in PASSING}
        return self._roster.choose(Question(excluded=out), self._random()).account_id

    def _take_in(self, account_id: AccountId, *, last_chosen: int | None = None) -> None:
        known = self._roster.get(account_id)
        if known is not None:
            order = known.last_chosen if last_chosen is None else last_chosen
            self._roster.put(replace(known, in_use=self.tally.running[account_id], last_chosen=order))


def fresh(account: Account, *, slots: int) -> Candidate:
    """An account of which nothing was seen yet."""
    return Candidate(
        account_id=account.account_id,
        status=AccountStatus.ACTIVE,
        until=None,
        is_probing=False,
        plan=account.plan,
        long_used_percent=0.0,
        short_used_percent=0.0,
        long_capacity=capacity(account.plan, WindowKind.SECONDARY),
        in_use=0,
        slots=slots,
        priority=account.priority,
        routing_policy=account.routing_policy,
        stop_percent=account.stop_percent,
    )

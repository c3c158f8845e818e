"""The accounts as selection needs them: sorted, so that a choice looks at few of them however many there are.

Pure: holds no clock and does no I/O. Whoever keeps it puts an account anew whenever something about it changed; that
costs a few comparisons, and a choice costs the same among ten accounts and among ten thousand.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from msgspec import Struct

from codex_lb.control.domain.candidate import (
    NOT_IN_SCOPE,
    NOT_OFFERED,
    NOT_OWNER,
    PASSING,
    Candidate,
    lasting_objection,
    passing_objection,
)
from codex_lb.control.domain.deadlines import Deadlines
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import PASSED_OVER_SHOWN, Decision, PassedOver
from codex_lb.control.domain.selection import (
    Choice,
    Question,
    Rank,
    Rules,
    SortKey,
    best_of,
    rank,
    sort_key,
    weight,
)
from codex_lb.control.domain.settings import Strategy
from codex_lb.control.domain.weighted import WeightedBag


@dataclass(slots=True)
class Group:
    """Open accounts of one rank and one plan."""

    keys: list[tuple[SortKey, AccountId]] = field(default_factory=list)  # sorted
    weights: WeightedBag[AccountId] = field(default_factory=WeightedBag)


class Place(Struct, frozen=True):
    """Where an open account stands."""

    rank: Rank
    plan: str
    key: SortKey


class Roster:
    """Everybody, by what they can do now. An account is open when nothing but a turn's own wishes can object to it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._known: dict[AccountId, Candidate] = {}
        self._open: dict[AccountId, Place] = {}
        self._groups: dict[Rank, dict[str, Group]] = {}
        self._ranks: list[Rank] = []  # sorted
        self._open_by_plan: Counter[str] = Counter()
        self._fresh_by_plan: Counter[str] = Counter()  # open ones that are not nearly spent
        self._closed: dict[AccountId, PassedOver] = {}
        self._closed_counts: Counter[tuple[str, str]] = Counter()  # by objection and plan
        self._returns: Deadlines[AccountId] = Deadlines()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def has_open(self) -> bool:
        """Whether anybody could serve anything."""
        return bool(self._open)

    def get(self, account_id: AccountId) -> Candidate | None:
        """The account as it was put last."""
        return self._known.get(account_id)

    def everybody(self) -> Iterable[Candidate]:
        """All of them."""
        return self._known.values()

    def put(self, candidate: Candidate) -> None:
        """Adds an account, or takes over what changed about it."""
        account_id = candidate.account_id
        known = self._known.get(account_id)
        if known == candidate:
            return
        against = lasting_objection(candidate) or passing_objection(candidate)
        before = self._open.get(account_id)
        if known is not None and before is not None and against is None:
            self._move(known, before, candidate)  # a turn more or less changes no more, as a rule
        else:
            self.remove(account_id)
            if against is None:
                self._put_open(candidate, self._place(candidate))
            else:
                self._put_closed(candidate, against)
        self._known[account_id] = candidate

    def remove(self, account_id: AccountId) -> None:
        """Forgets an account."""
        candidate = self._known.pop(account_id, None)
        if candidate is None:
            return
        place = self._open.pop(account_id, None)
        if place is not None:
            self._remove_open(candidate, place)
        else:
            self._remove_closed(candidate)

    def choose(self, question: Question, random: float) -> Choice:
        """The account that serves. `random` is in [0, 1)."""
        if question.is_bound:
            return self._only(question, [question.preferred] if question.preferred else [], NOT_OWNER, random)
        if self.rules.strategy is Strategy.SINGLE_ACCOUNT:
            return self._only(question, [self.rules.single_account], NOT_IN_SCOPE, random)
        if question.scope is not None:
            return self._only(question, question.scope, NOT_IN_SCOPE, random)
        wished = self._wished(question)
        chosen = wished or self._first(question, random)
        counts: Counter[str] = Counter()
        passed: tuple[PassedOver, ...] = ()
        if not self._is_open_to_all(question, wished):
            counts, passed = self._counts(question), self._passed_over(question)
        eligible = len(self._known) - sum(counts.values())
        return self._choice(question, chosen, wished, counts, eligible, passed, self._returns.first)

    def _place(self, candidate: Candidate) -> Place:
        return Place(rank(candidate, self.rules), candidate.plan, sort_key(candidate, self.rules.strategy))

    def _move(self, known: Candidate, before: Place, candidate: Candidate) -> None:
        """An open account stays open."""
        place, account_id = self._place(candidate), candidate.account_id
        if place.rank != before.rank or place.plan != before.plan:
            self._remove_open(known, before)
            self._put_open(candidate, place)
            return
        group = self._groups[place.rank][place.plan]
        del group.keys[bisect_left(group.keys, (before.key, account_id))]
        insort(group.keys, (place.key, account_id))
        if self.rules.strategy is Strategy.CAPACITY_WEIGHTED:
            group.weights.put(account_id, weight(candidate))
        self._open[account_id] = place
        self._fresh_by_plan[place.plan] += known.is_nearly_spent - candidate.is_nearly_spent

    def _put_open(self, candidate: Candidate, place: Place) -> None:
        by_plan = self._groups.get(place.rank)
        if by_plan is None:
            by_plan = self._groups[place.rank] = {}
            insort(self._ranks, place.rank)
        group = by_plan.get(place.plan)
        if group is None:
            group = by_plan[place.plan] = Group()
        insort(group.keys, (place.key, candidate.account_id))
        if self.rules.strategy is Strategy.CAPACITY_WEIGHTED:
            group.weights.put(candidate.account_id, weight(candidate))
        self._open[candidate.account_id] = place
        self._open_by_plan[place.plan] += 1
        self._fresh_by_plan[place.plan] += not candidate.is_nearly_spent

    def _remove_open(self, candidate: Candidate, place: Place) -> None:
        by_plan = self._groups[place.rank]
        group = by_plan[place.plan]
        del group.keys[bisect_left(group.keys, (place.key, candidate.account_id))]
        if self.rules.strategy is Strategy.CAPACITY_WEIGHTED:
            group.weights.remove(candidate.account_id)
        if not group.keys:
            del by_plan[place.plan]
        if not by_plan:
            del self._groups[place.rank]
            del self._ranks[bisect_left(self._ranks, place.rank)]
        self._open_by_plan[place.plan] -= 1
        self._fresh_by_plan[place.plan] -= not candidate.is_nearly_spent

    def _put_closed(self, candidate: Candidate, against: str) -> None:
        account_id, returns_at = candidate.account_id, candidate.returns_at
        self._closed[account_id] = PassedOver(account_id, against, returns_at)
        self._closed_counts[against, candidate.plan] += 1
        self._returns.set(account_id, returns_at)

    def _remove_closed(self, candidate: Candidate) -> None:
        passed = self._closed.pop(candidate.account_id)
        self._closed_counts[passed.reason, candidate.plan] -= 1
        self._returns.set(candidate.account_id, None)

    def _wished(self, question: Question) -> AccountId | None:
        """The preferred account, if it can serve and is not to be left for its own good."""
        candidate = self._known.get(question.preferred) if question.preferred is not None else None
        if candidate is None or self._objection(candidate, question) is not None:
            return None
        if not candidate.is_nearly_spent:
            return candidate.account_id
        fresh = sum(self._fresh_by_plan[plan] for plan in self._plans(question))
        others = (self._known.get(account_id) for account_id in question.excluded)
        left = [c for c in others if c and c.account_id in self._open and not c.is_nearly_spent]
        is_better_elsewhere = fresh > sum(offers(question, c.plan) for c in left)
        return None if is_better_elsewhere else candidate.account_id

    def _first(self, question: Question, random: float) -> AccountId | None:
        """The strategy's choice in the first rank that has anybody for this turn."""
        for level in self._ranks:
            groups = [group for plan, group in self._groups[level].items() if offers(question, plan)]
            chosen = self._in_groups(groups, question.excluded, random)
            if chosen is not None:
                return chosen
        return None

    def _in_groups(self, groups: list[Group], excluded: Mapping[AccountId, str], random: float) -> AccountId | None:
        if self.rules.strategy is Strategy.CAPACITY_WEIGHTED:
            drawn = draw(groups, excluded, random)
            if drawn is not None:
                return drawn
        firsts = (next((key for key in group.keys if key[1] not in excluded), None) for group in groups)
        first = min((key for key in firsts if key is not None), default=None)
        return first[1] if first else None

    def _plans(self, question: Question) -> Iterator[str]:
        return (plan for plan in self._open_by_plan if offers(question, plan))

    def _objection(self, candidate: Candidate, question: Question) -> str | None:
        lasting = lasting_objection(candidate)
        if lasting is not None:
            return lasting
        if candidate.account_id in question.excluded:
            return f"left:{question.excluded[candidate.account_id]}"
        return passing_objection(candidate) if offers(question, candidate.plan) else NOT_OFFERED

    def _is_open_to_all(self, question: Question, wished: AccountId | None) -> bool:
        """Whether nobody was passed over, as when all is well."""
        if self._closed or question.excluded or question.preferred != wished:
            return False
        return question.plans is None or question.plans >= self._open_by_plan.keys()

    def _counts(self, question: Question) -> Counter[str]:
        """How many are passed over for what, without a look at each of them."""
        counts: Counter[str] = Counter()
        for (against, plan), number in self._closed_counts.items():
            is_offered = against not in PASSING or offers(question, plan)
            counts[against if is_offered else NOT_OFFERED] += number
        counts[NOT_OFFERED] += sum(n for plan, n in self._open_by_plan.items() if not offers(question, plan))
        for account_id in question.excluded:
            candidate = self._known.get(account_id)
            if candidate is not None and lasting_objection(candidate) is None:
                counts[passing_objection(candidate) or ""] -= 1
                if not offers(question, candidate.plan):
                    counts[passing_objection(candidate) or ""] += 1
                    counts[NOT_OFFERED] -= 1
                counts[f"left:{question.excluded[account_id]}"] += 1
        del counts[""]  # those excluded were open: eligible, had the turn not left them
        return +counts

    def _passed_over(self, question: Question) -> tuple[PassedOver, ...]:
        """The preferred one and those that the turn left, then whoever else there is, up to a number."""
        named = [*([question.preferred] if question.preferred else []), *question.excluded]
        first: dict[AccountId, PassedOver] = {}
        for account_id in named:
            candidate = self._known.get(account_id)
            against = self._objection(candidate, question) if candidate else None
            if candidate is not None and against is not None:
                first[account_id] = PassedOver(account_id, against, candidate.returns_at)
        if self._closed:
            first |= {k: p for k, p in islice(self._closed.items(), PASSED_OVER_SHOWN) if k not in first}
        return tuple(islice(first.values(), PASSED_OVER_SHOWN))

    def _only(self, question: Question, few: Iterable[AccountId], rest: str, random: float) -> Choice:
        """A choice among a few named accounts."""
        candidates = [self._known[account_id] for account_id in few if account_id in self._known]
        against = {c.account_id: self._objection(c, question) for c in candidates}
        eligible = [c for c in candidates if against[c.account_id] is None]
        wished = next((c for c in eligible if c.account_id == question.preferred), None)
        if wished is not None and not question.is_bound and wished.is_nearly_spent:
            wished = wished if all(c.is_nearly_spent for c in eligible) else None
        chosen = wished or best_of(eligible, self.rules, random)
        passed = [PassedOver(c.account_id, why, c.returns_at) for c in candidates if (why := against[c.account_id])]
        counts = Counter(p.reason for p in passed)
        counts[rest] += len(self._known) - len(candidates)
        return self._choice(
            question,
            chosen.account_id if chosen else None,
            wished.account_id if wished else None,
            +counts,
            len(eligible),
            tuple(passed[:PASSED_OVER_SHOWN]),
            min((p.until for p in passed if p.until is not None), default=None),
        )

    def _choice(
        self,
        question: Question,
        chosen: AccountId | None,
        wished: AccountId | None,
        counts: Counter[str],
        eligible: int,
        passed: tuple[PassedOver, ...],
        retry_at: datetime | None,
    ) -> Choice:
        reason = question.reason if wished else ""
        return Choice(
            account_id=chosen,
            decision=Decision(self.rules.strategy.value, reason, len(self._known), eligible, passed, dict(counts)),
            is_busy=chosen is None and bool(counts.keys() & PASSING),
            retry_at=retry_at,
        )


def offers(question: Question, plan: str) -> bool:
    """Whether a plan may be asked for the turn's model."""
    return question.plans is None or plan in question.plans


def draw(groups: Iterable[Group], excluded: Mapping[AccountId, str], random: float) -> AccountId | None:
    """A draw over several groups, in proportion to the weights; None when all are zero."""
    bags = [group.weights for group in groups]
    set_aside = [(bag, account_id, bag.weight(account_id)) for bag in bags for account_id in excluded]
    set_aside = [(bag, account_id, was) for bag, account_id, was in set_aside if was]
    for bag, account_id, _ in set_aside:
        bag.put(account_id, 0)
    mark = int(random * sum(bag.total for bag in bags))
    drawn: AccountId | None = None
    for bag in bags:
        if mark < bag.total:
            drawn = bag.at(mark)
            break
        mark -= bag.total
    for bag, account_id, was in set_aside:
        bag.put(account_id, was)
    return drawn

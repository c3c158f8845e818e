"""Decides which account serves a turn: the rules, over a handful of accounts. Pure; randomness comes in as a number.

`roster.py` follows the same rules over thousands of accounts without looking at each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias, assert_never

from msgspec import Struct, field

from codex_lb.control.domain.account import RoutingPolicy
from codex_lb.control.domain.candidate import Candidate
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Decision
from codex_lb.control.domain.settings import NOBODY, LiveSettings, Strategy

PRESSURE_PERCENT_PER_STREAM = 2.5  # what a running turn counts for before its usage is known
DAY_S = 86_400
NO_RESET_DAY = 0  # before any day: a window that nobody has seen is shown by the first turn it serves
WEIGHT_PER_CREDIT = 1000  # weights are whole numbers, so that sums are exact
POLICY_ORDER = {RoutingPolicy.BURN_FIRST: 0, RoutingPolicy.NORMAL: 1, RoutingPolicy.PRESERVE: 2}

Rank: TypeAlias = tuple[int, ...]
SortKey: TypeAlias = tuple[float | str, ...]


class Rules(Struct, frozen=True):
    """How to choose, as operators set it."""

    strategy: Strategy = Strategy.CAPACITY_WEIGHTED
    prefer_earlier_reset: bool = False
    single_account: AccountId = NOBODY


def rules_of(settings: LiveSettings) -> Rules:
    """What of the settings says how to choose."""
    return Rules(settings.routing_strategy, settings.prefer_earlier_reset, settings.single_account)


class Question(Struct, frozen=True):
    """Who may serve a turn, and who had better."""

    plans: frozenset[str] | None = None  # that offer the model; None: any
    excluded: dict[AccountId, str] = field(default_factory=dict)  # left already, and why
    scope: frozenset[AccountId] | None = None  # the only ones allowed; None: any
    preferred: AccountId | None = None  # taken whenever it can serve, unless it is nearly spent and another is not
    is_bound: bool = False  # nobody but the preferred one will do
    reason: str = ""  # why it is preferred, for the record


class Choice(Struct, frozen=True):
    """The account chosen, if any, and how that came about."""

    account_id: AccountId | None
    decision: Decision
    is_busy: bool  # nothing but slots stood in the way: waiting may help
    retry_at: datetime | None  # when the first account returns


def rank(candidate: Candidate, rules: Rules) -> Rank:
    """Who serves before whom, whatever the strategy says inside a rank; smaller ranks first.

    What operators say comes first, then room, then which quota is lost soonest. Strategies that empty accounts one after
    another do not mind how full they are.
    """
    match rules.strategy:
        case Strategy.CAPACITY_WEIGHTED | Strategy.USAGE_WEIGHTED | Strategy.ROUND_ROBIN:
            room = int(candidate.is_draining)
            day = reset_day(candidate) if rules.prefer_earlier_reset else 0
            return (-candidate.priority, room, POLICY_ORDER[candidate.routing_policy], day)
        case Strategy.FILL_FIRST | Strategy.SEQUENTIAL_DRAIN | Strategy.SINGLE_ACCOUNT:
            return (-candidate.priority, POLICY_ORDER[candidate.routing_policy])
        case _:
            assert_never(rules.strategy)


def reset_day(candidate: Candidate) -> int:
    """The day on which the long window starts anew, in days since 1970: hours would make one account serve alone."""
    resets_at = candidate.long_resets_at
    return NO_RESET_DAY if resets_at is None else int(resets_at.timestamp()) // DAY_S


def sort_key(candidate: Candidate, strategy: Strategy) -> SortKey:
    """Who serves first inside a rank; smaller keys first. For draws it decides where every weight is zero."""
    match strategy:
        case Strategy.CAPACITY_WEIGHTED | Strategy.USAGE_WEIGHTED:
            used = candidate.long_used_percent + PRESSURE_PERCENT_PER_STREAM * candidate.in_use
            return (used, candidate.short_used_percent, candidate.last_chosen, candidate.account_id)
        case Strategy.ROUND_ROBIN:
            return (candidate.last_chosen, candidate.account_id)
        case Strategy.FILL_FIRST:
            return (-candidate.short_used_percent, -candidate.long_used_percent, candidate.account_id)
        case Strategy.SEQUENTIAL_DRAIN | Strategy.SINGLE_ACCOUNT:
            return (candidate.long_capacity, candidate.account_id)
        case _:
            assert_never(strategy)


def weight(candidate: Candidate) -> int:
    """Credits left in the long window, less what running turns will take; none when the short window is full."""
    if candidate.short_used_percent >= 100:
        return 0
    used = candidate.long_used_percent + PRESSURE_PERCENT_PER_STREAM * candidate.in_use
    return int(candidate.long_capacity * WEIGHT_PER_CREDIT * max(0.0, 100.0 - used) / 100.0)


def best_of(eligible: Iterable[Candidate], rules: Rules, random: float) -> Candidate | None:
    """The account that serves among those nothing speaks against. `random` is in [0, 1)."""
    everybody = list(eligible)
    if not everybody:
        return None
    first = min(rank(c, rules) for c in everybody)
    foremost = [c for c in everybody if rank(c, rules) == first]
    drawn = by_weight(foremost, random) if rules.strategy is Strategy.CAPACITY_WEIGHTED else None
    return drawn or min(foremost, key=lambda c: sort_key(c, rules.strategy))


def by_weight(candidates: Sequence[Candidate], random: float) -> Candidate | None:
    """A draw in proportion to the weights; None when all are zero."""
    weights = [weight(c) for c in candidates]
    mark = int(random * sum(weights))
    for candidate, share in zip(candidates, weights, strict=True):
        mark -= share
        if mark < 0:
            return candidate
    return None

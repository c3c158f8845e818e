"""The roster chooses as the rules say, among any accounts, whatever happened to them before."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from codex_lb.control.domain.account import AccountStatus, RoutingPolicy
from codex_lb.control.domain.candidate import Candidate, lasting_objection, passing_objection
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.roster import Roster
from codex_lb.control.domain.selection import Question, Rules, best_of, by_weight, rank
from codex_lb.control.domain.settings import Strategy
from tests.support.clock import NOON

NAMES = [AccountId(name) for name in "abcdefgh"]
PLANS = ["free", "plus", "pro"]
instants = st.none() | st.integers(1, 9).map(lambda days: NOON + timedelta(days=days))
candidates = st.builds(
    Candidate,
    account_id=st.sampled_from(NAMES),
    status=st.sampled_from([AccountStatus.ACTIVE] * 5 + list(AccountStatus)),
    until=instants,
    is_probing=st.booleans(),
    plan=st.sampled_from(PLANS),
    long_used_percent=st.sampled_from([0.0, 50.0, 91.0, 100.0]),
    short_used_percent=st.sampled_from([0.0, 50.0, 86.0, 96.0, 100.0]),
    long_capacity=st.sampled_from([0.0, 1134.0, 7560.0]),
    in_use=st.integers(0, 3),
    slots=st.sampled_from([0, 2, 3]),
    probes=st.integers(0, 1),
    long_resets_at=instants,
    priority=st.integers(-1, 1),
    routing_policy=st.sampled_from(RoutingPolicy),
    stop_percent=st.sampled_from([None, 50.0]),
    creating=st.integers(0, 2),
    create_slots=st.sampled_from([0, 2]),
    last_chosen=st.integers(0, 5),
)
questions = st.builds(
    Question,
    plans=st.none() | st.frozensets(st.sampled_from(PLANS)),
    excluded=st.dictionaries(st.sampled_from(NAMES), st.just("upstream_5xx"), max_size=3),
    scope=st.none() | st.frozensets(st.sampled_from(NAMES)),
    preferred=st.none() | st.sampled_from(NAMES),
    is_bound=st.booleans(),
    reason=st.just("affinity"),
)
rules = st.builds(
    Rules,
    strategy=st.sampled_from(Strategy),
    prefer_earlier_reset=st.booleans(),
    single_account=st.sampled_from(NAMES),
)


@given(rules, st.lists(candidates | st.sampled_from(NAMES), max_size=30), questions, st.floats(0, 1, exclude_max=True))
def test_a_choice_is_the_one_that_the_rules_make_and_counts_everybody(
    given_: Rules, events: list[Candidate | AccountId], question: Question, number: float
) -> None:
    roster = Roster(given_)
    known: dict[AccountId, Candidate] = {}
    for event in events:
        if isinstance(event, Candidate):
            roster.put(event)
            known[event.account_id] = event
        else:
            roster.remove(event)
            known.pop(event, None)

    choice = roster.choose(question, number)

    eligible = [c for c in known.values() if objection(c, question, given_) is None]
    assert choice.decision.candidates == len(known)
    assert choice.decision.eligible == len(eligible)
    assert sum(choice.decision.passed_over_counts.values()) == len(known) - len(eligible)
    assert choice.account_id in expected(eligible, question, given_, number)


@given(rules, candidates, candidates)
def test_an_account_put_anew_leaves_nothing_behind(given_: Rules, before: Candidate, after: Candidate) -> None:
    roster = Roster(given_)
    roster.put(before)
    roster.put(replace(after, account_id=before.account_id))
    roster.remove(before.account_id)

    assert roster.choose(Question(), 0.5) == Roster(given_).choose(Question(), 0.5)


def test_a_conversation_leaves_an_account_that_is_nearly_spent_when_another_has_room() -> None:
    spent = candidate("spent", short_used_percent=96.0)

    assert chosen(spent, candidate("fresh"), preferred="spent") == "fresh"
    assert chosen(spent, candidate("also spent", short_used_percent=99.0), preferred="spent") == "spent"
    assert chosen(replace(spent, short_used_percent=95.0), candidate("fresh"), preferred="spent") == "spent"


def test_strategies_do_what_their_names_say() -> None:
    fuller = candidate("fuller", short_used_percent=50.0, long_used_percent=60.0, last_chosen=1)
    emptier = candidate(
        "emptier", short_used_percent=20.0, long_used_percent=10.0, last_chosen=2, long_capacity=50_400.0
    )

    by = {strategy: chosen(fuller, emptier, strategy=strategy) for strategy in Strategy}

    assert by[Strategy.USAGE_WEIGHTED] == "emptier"
    assert by[Strategy.ROUND_ROBIN] == "fuller"
    assert by[Strategy.FILL_FIRST] == "fuller"
    assert by[Strategy.SEQUENTIAL_DRAIN] == "fuller"
    assert by[Strategy.SINGLE_ACCOUNT] is None


def test_quota_that_is_lost_sooner_is_used_first_where_that_is_wanted() -> None:
    soon = candidate("soon", long_used_percent=80.0, long_resets_at=NOON + timedelta(days=1))
    late = candidate("late", long_resets_at=NOON + timedelta(days=5))
    roster = Roster(Rules(prefer_earlier_reset=True))
    for one in (soon, late):
        roster.put(one)

    assert {roster.choose(Question(), i / 10).account_id for i in range(10)} == {"soon"}


def test_an_account_that_is_draining_serves_when_no_fuller_one_can_unless_it_is_to_be_burnt_first() -> None:
    draining = candidate("draining", short_used_percent=86.0)

    assert chosen(draining, candidate("healthy")) == "healthy"
    assert chosen(draining) == "draining"
    assert chosen(replace(draining, routing_policy=RoutingPolicy.BURN_FIRST), candidate("healthy")) == "draining"


def test_a_single_account_serves_alone_and_says_why_the_others_do_not() -> None:
    roster = Roster(Rules(Strategy.SINGLE_ACCOUNT, single_account=AccountId("a")))
    roster.put(candidate("a", status=AccountStatus.RATE_LIMITED, until=NOON))
    roster.put(candidate("b"))

    choice = roster.choose(Question(), 0.0)

    assert (choice.account_id, choice.retry_at) == (None, NOON)
    assert choice.decision.passed_over_counts == {"rate_limited": 1, "not_in_scope": 1}


def objection(c: Candidate, question: Question, given_: Rules) -> str | None:
    """What speaks against an account, said plainly."""
    if question.is_bound and c.account_id != question.preferred:
        return "not_owner"
    is_single = given_.strategy is Strategy.SINGLE_ACCOUNT and not question.is_bound
    if is_single and c.account_id != given_.single_account:
        return "not_in_scope"
    if question.scope is not None and not question.is_bound and not is_single and c.account_id not in question.scope:
        return "not_in_scope"
    if c.account_id in question.excluded:
        return "left"
    if question.plans is not None and c.plan not in question.plans:
        return "model_not_offered"
    return lasting_objection(c) or passing_objection(c)


def expected(eligible: list[Candidate], question: Question, given_: Rules, number: float) -> set[AccountId | None]:
    """Who may be chosen: one account, or those that a draw may yield."""
    wished = next((c for c in eligible if c.account_id == question.preferred), None)
    if wished is not None and (
        question.is_bound or not wished.is_nearly_spent or all(c.is_nearly_spent for c in eligible)
    ):
        return {wished.account_id}
    best = best_of(eligible, given_, number)
    if best is None or given_.strategy is not Strategy.CAPACITY_WEIGHTED:
        return {best.account_id if best else None}
    foremost = [c for c in eligible if rank(c, given_) == rank(best, given_)]
    if by_weight(foremost, 0.0) is None:
        return {best.account_id}
    return {drawn.account_id for i in range(1000) if (drawn := by_weight(foremost, i / 1000))}


def candidate(name: str, **changes: object) -> Candidate:
    """An account that can serve."""
    ready = Candidate(
        account_id=AccountId(name),
        status=AccountStatus.ACTIVE,
        until=None,
        is_probing=False,
        plan="plus",
        long_used_percent=0.0,
        short_used_percent=0.0,
        long_capacity=7560.0,
        in_use=0,
        slots=8,
    )
    return replace(ready, **changes)  # type: ignore[arg-type]  # each test gives a field its type


def chosen(
    *given_: Candidate, preferred: str | None = None, strategy: Strategy = Strategy.CAPACITY_WEIGHTED
) -> AccountId | None:
    """Who serves."""
    roster = Roster(Rules(strategy))
    for one in given_:
        roster.put(one)
    return roster.choose(Question(preferred=AccountId(preferred) if preferred else None), 0.0).account_id

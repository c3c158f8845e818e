"""Who serves a turn, and what the decision says about it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from codex_lb.control.domain.account import AccountStatus, RoutingPolicy
from codex_lb.control.domain.candidate import Candidate
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.roster import Roster
from codex_lb.control.domain.selection import Choice, Question, Rules
from tests.support.clock import NOON

READY = Candidate(
    account_id=AccountId("a"),
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
PLUS = Question(plans=frozenset({"plus"}))
percents = st.floats(0, 100)
candidates = st.lists(
    st.builds(
        Candidate,
        account_id=st.uuids().map(lambda u: AccountId(str(u))),
        status=st.sampled_from(AccountStatus),
        until=st.none() | st.just(NOON),
        is_probing=st.booleans(),
        plan=st.sampled_from(["plus", "free"]),
        long_used_percent=percents,
        short_used_percent=percents,
        long_capacity=st.floats(0, 50_400),
        in_use=st.integers(0, 10),
        slots=st.integers(0, 8),
    ),
    max_size=20,
)
numbers = st.floats(0, 1, exclude_max=True)


@given(candidates, numbers)
def test_nobody_is_chosen_against_an_objection_and_everybody_is_accounted_for(
    given_: list[Candidate], number: float
) -> None:
    choice = _choose(*given_, random=number)

    decision = choice.decision
    assert decision.candidates == len(given_) == decision.eligible + sum(decision.passed_over_counts.values())
    assert (choice.account_id is not None) == (decision.eligible > 0)
    chosen = next((c for c in given_ if c.account_id == choice.account_id), None)
    if chosen is not None:
        assert chosen.status is AccountStatus.ACTIVE
        assert chosen.plan == "plus"
        assert not chosen.slots or chosen.in_use < chosen.slots
        assert not (chosen.is_probing and chosen.probes)


def test_accounts_are_drawn_in_proportion_to_what_is_left_in_them() -> None:
    full, third = _candidate("full"), replace(_candidate("third"), long_used_percent=200 / 3)

    drawn = Counter(_choose(full, third, random=i / 1000).account_id for i in range(1000))

    assert drawn["full"] == pytest.approx(750, abs=1)
    assert drawn.total() == drawn["full"] + drawn["third"]


def test_an_account_whose_short_window_is_full_is_drawn_only_when_no_other_is_left() -> None:
    drained = replace(_candidate("drained"), short_used_percent=100.0)

    assert {_choose(drained, _candidate("b"), random=i / 10).account_id for i in range(10)} == {"b"}
    assert _choose(drained, random=0.5).account_id == "drained"


def test_running_turns_count_before_their_usage_is_known() -> None:
    busy = replace(_candidate("busy"), slots=0, in_use=40)

    assert {_choose(busy, _candidate("b"), random=i / 10).account_id for i in range(10)} == {"b"}


def test_an_account_that_is_tried_again_gets_one_turn_and_not_the_herd() -> None:
    probing = replace(READY, is_probing=True)

    assert _choose(probing).account_id == "a"
    assert _choose(replace(probing, in_use=1, probes=1)).decision.passed_over_counts == {"probing": 1}


def test_waiting_is_worth_it_only_where_a_slot_is_all_that_is_missing() -> None:
    busy = replace(READY, in_use=8)
    limited = replace(_candidate("b"), status=AccountStatus.RATE_LIMITED, until=NOON)

    assert _choose(busy, limited).is_busy
    assert not _choose(limited).is_busy


def test_a_refusal_names_when_the_first_account_returns() -> None:
    soon, later = (
        replace(_candidate(name), status=AccountStatus.RATE_LIMITED, until=NOON + timedelta(seconds=s))
        for name, s in (("soon", 30), ("later", 60))
    )

    assert _choose(later, soon).retry_at == NOON + timedelta(seconds=30)


def test_an_account_the_turn_has_left_is_passed_over_with_the_reason() -> None:
    choice = _choose(READY, question=Question(excluded={AccountId("a"): "upstream_5xx"}))

    assert [(p.account_id, p.reason) for p in choice.decision.passed_over] == [("a", "left:upstream_5xx")]


def test_a_decision_names_the_first_accounts_and_counts_all() -> None:
    paused = [replace(_candidate(str(i)), status=AccountStatus.PAUSED) for i in range(100)]

    decision = _choose(*paused).decision

    assert (len(decision.passed_over), decision.passed_over_counts) == (16, {"paused": 100})


def test_a_higher_priority_serves_first_and_within_it_what_is_to_be_burnt() -> None:
    normal, spare = _candidate("normal"), replace(_candidate("spare"), routing_policy=RoutingPolicy.PRESERVE)
    burn = replace(_candidate("burn"), routing_policy=RoutingPolicy.BURN_FIRST)
    first = replace(_candidate("first"), priority=1, routing_policy=RoutingPolicy.PRESERVE)

    assert _choose(normal, spare, burn, first).account_id == "first"
    assert _choose(normal, spare, burn).account_id == "burn"
    assert _choose(normal, spare).account_id == "normal"
    assert _choose(spare).account_id == "spare"


@given(candidates, st.lists(st.tuples(st.integers(-2, 2), st.sampled_from(RoutingPolicy)), min_size=20), numbers)
def test_nobody_who_can_serve_is_left_out_for_good_by_rank(
    given_: list[Candidate], ranks: list[tuple[int, RoutingPolicy]], number: float
) -> None:
    ranked = [
        replace(c, priority=priority, routing_policy=policy)
        for c, (priority, policy) in zip(given_, ranks, strict=False)
    ]

    assert (_choose(*ranked, random=number).account_id is None) == (_choose(*given_, random=number).account_id is None)


def test_an_account_stops_at_its_threshold_until_the_last_of_its_full_windows_starts_anew() -> None:
    soon, late = NOON + timedelta(hours=1), NOON + timedelta(days=3)
    stopped = replace(
        READY,
        stop_percent=80.0,
        short_used_percent=85.0,
        short_resets_at=soon,
        long_used_percent=80.0,
        long_resets_at=late,
    )

    choice = _choose(stopped)

    assert (choice.account_id, choice.retry_at) == (None, late)
    assert choice.decision.passed_over_counts == {"stop_threshold": 1}
    assert _choose(replace(stopped, long_used_percent=0.0)).retry_at == soon
    assert _choose(replace(stopped, stop_percent=90.0)).account_id == "a"


def _candidate(name: str) -> Candidate:
    return replace(READY, account_id=AccountId(name))


def _choose(*given_: Candidate, random: float = 0.0, question: Question = PLUS) -> Choice:
    roster = Roster(Rules())
    for candidate in given_:
        roster.put(candidate)
    return roster.choose(question, random)

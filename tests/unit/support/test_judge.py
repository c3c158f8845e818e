"""What may fail twice running, and what may not: the judge of the continuity campaign."""

from __future__ import annotations

import pytest

from codex_lb.control.coordination.failures import CONVERSATION_TTL_S
from codex_lb.control.domain.ids import ReplicaId
from codex_lb.gateway.turn.next_step import ACCOUNTS_MAX, LOGINS_MAX
from tests.support.continuity.accounts import Call, Cost
from tests.support.continuity.judge import BEGUN_S, NOT_BEGUN_S, Asked, Excuse, excuse


def call(account: str, *, is_visible: bool = False, cost: Cost = Cost.ACCOUNT) -> Call:
    return Call(account, at=100.0, is_visible=is_visible, cost=cost)


def asked(*calls: Call, has_hung_up: bool = False) -> Asked:
    return Asked(99.0, 110.0, list(calls), GATEWAY, has_hung_up=has_hung_up)


def judged(second: Asked, *, failing: str = "", is_forgotten: bool = False, ended: float = 98.0) -> Excuse | None:
    first = Asked(ended - 1, ended, [call("a", is_visible=True)], GATEWAY)
    return excuse(
        first, second, was_failing=lambda c: c.account in failing, is_forgotten=lambda _at, _gateway: is_forgotten
    )


GATEWAY = ReplicaId("g")
BREAKS = call("b", is_visible=True)


def test_an_answer_may_break_off_where_nobody_had_failed() -> None:
    assert judged(asked(BREAKS)) is Excuse.BROKE_OFF
    assert judged(asked(call("c"), call("c"), BREAKS)) is Excuse.BROKE_OFF


@pytest.mark.parametrize(
    "second",
    [asked(call("a", is_visible=True)), asked(call("a"), BREAKS)],
    ids=["there alone", "there on its way elsewhere"],
)
def test_a_conversation_may_not_fail_again_where_it_just_failed(second: Asked) -> None:
    assert judged(second) is None
    assert judged(second, is_forgotten=True) is Excuse.FORGOTTEN


def test_it_may_fail_again_where_it_failed_longer_ago_than_failures_are_remembered() -> None:
    there = asked(call("a", is_visible=True))

    assert judged(there, ended=there.began - CONVERSATION_TTL_S) is None
    assert judged(there, ended=there.began - CONVERSATION_TTL_S - 1) is Excuse.FORGOTTEN


def test_it_may_not_fail_where_others_just_failed() -> None:
    assert judged(asked(BREAKS), failing="b") is None
    assert judged(asked(call("c"), BREAKS), failing="c") is None


def test_it_may_not_be_refused_or_given_up_while_there_is_somebody_to_ask() -> None:
    assert judged(asked()) is None
    assert judged(asked(call("b"), call("c"))) is None


def test_a_turn_may_fail_on_as_many_accounts_as_its_budget_pays_for() -> None:
    failing = [call(f"b{n}") for n in range(ACCOUNTS_MAX - 1)]
    logins = [call(f"c{n}", cost=Cost.LOGIN) for n in range(LOGINS_MAX)]
    limits = [call(f"d{n}", cost=Cost.LIMIT) for n in range(5)]

    assert judged(asked(*failing, *logins, *limits)) is None
    assert judged(asked(*failing, call("z"))) is Excuse.DROWNED
    assert judged(asked(*failing, *logins, call("z", cost=Cost.LOGIN))) is Excuse.DROWNED
    assert judged(asked(*failing, failing[0])) is None  # the same account twice is one account


def test_a_client_that_hangs_up_was_failed_only_if_nothing_had_come_for_long() -> None:
    unbegun, begun = call("b"), call("b")
    begun.has_begun = True
    left = [
        Asked(99.0, 100.0 + silence_s, [one], GATEWAY, has_hung_up=True)
        for one, silence_s in (
            (unbegun, NOT_BEGUN_S),
            (unbegun, NOT_BEGUN_S - 1),
            (begun, BEGUN_S),
            (begun, BEGUN_S - 1),
        )
    ]

    assert [one.is_failure for one in left] == [True, False, True, False]
    assert judged(left[0]) is Excuse.SILENT
    assert not asked(has_hung_up=True).is_failure

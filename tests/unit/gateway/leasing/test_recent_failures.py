"""What a control that lost its memory is told again."""

from __future__ import annotations

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.leasing.recent_failures import FAILURES_MAX, KEPT_S, RecentFailures
from codex_lb.gateway.leasing.wire import read_span, span


def settlement(account_id: str = "a", **more: object) -> pb.Settlement:
    return pb.Settlement(lease=pb.HeldLease(account_id=account_id), **more)  # type: ignore[arg-type]


def test_a_failure_is_told_with_its_age_for_some_minutes() -> None:
    failures = RecentFailures()
    timings = pb.Timings(leased=span(2.0), total=span(27.0))
    failures.note(settlement(failed_affinity_keys=[b"s"], timings=timings), now=100.0)

    [told] = failures.told(now=130.0)

    assert (told.affinity_keys, told.account_id) == ([b"s"], "a")
    assert (read_span(told.ago), read_span(told.lasted)) == (30.0, 25.0)
    assert failures.told(now=100.0 + KEPT_S + 1) == []


def test_an_account_that_failed_a_turn_without_a_conversation_is_told_and_what_did_not_fail_is_not() -> None:
    failures = RecentFailures()
    failures.note(settlement("a", fault=pb.Fault(blame=pb.BLAME_UPSTREAM)), now=0.0)
    failures.note(settlement("b", fault=pb.Fault(blame=pb.BLAME_CLIENT)), now=0.0)
    failures.note(settlement("c"), now=0.0)

    assert [told.account_id for told in failures.told(now=1.0)] == ["a"]


def test_of_too_many_the_latest_are_told() -> None:
    failures = RecentFailures()
    for n in range(FAILURES_MAX + 2):
        failures.note(settlement(f"a{n}", failed_affinity_keys=[b"s"]), now=float(n) / FAILURES_MAX)

    told = failures.told(now=2.0)

    assert (len(told), told[0].account_id, told[-1].account_id) == (FAILURES_MAX, "a2", f"a{FAILURES_MAX + 1}")

"""Replays of recorded decisions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random

from msgspec.structs import replace

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import NO_DECISION, PassedOver
from codex_lb.control.domain.selection import Rules
from codex_lb.control.domain.settings import Strategy
from codex_lb.control.domain.simulation import RecordedLease, Sample, Share, Simulation, simulate
from codex_lb.control.domain.window import Window, WindowKind
from tests.support.clock import NOON
from tests.unit.control.leases import account

A, B = AccountId("a"), AccountId("b")
ACCOUNTS = [account("a"), account("b")]


def test_turns_are_dealt_out_as_the_other_strategy_would_have() -> None:
    leases = [lease(A, at_s=i) for i in range(10)]

    found = replayed(leases, Strategy.ROUND_ROBIN)

    assert found.actual == {A: Share(10, 1)}
    assert found.simulated == {A: Share(5, 1), B: Share(5, 1)}


def test_turns_tied_to_an_account_stay_there() -> None:
    tied = [replace(lease(A, at_s=i), decision=replace(NO_DECISION, affinity="affinity")) for i in range(4)]

    found = replayed(tied, Strategy.ROUND_ROBIN)

    assert (found.tied, found.simulated) == (4, {A: Share(4, 1)})


def test_an_account_that_could_not_serve_then_does_not_serve_in_the_replay() -> None:
    limited = replace(NO_DECISION, passed_over=(PassedOver(B, "rate_limited"),))
    busy = replace(NO_DECISION, passed_over=(PassedOver(B, "no_slot"),))

    assert replayed([replace(lease(A), decision=limited)] * 2, Strategy.ROUND_ROBIN).simulated == {A: Share(2, 2)}
    assert B in replayed([replace(lease(A), decision=busy)] * 2, Strategy.ROUND_ROBIN).simulated


def test_slots_are_taken_by_those_who_would_have_run() -> None:
    together = [lease(A, runs_s=60) for _ in range(5)]

    found = replayed(together, Strategy.FILL_FIRST, slots=2)

    assert (found.unserved, found.simulated) == (1, {A: Share(2, 2), B: Share(2, 2)})


def test_windows_are_as_full_as_they_were_seen_to_be_at_the_time() -> None:
    early, late = lease(B, at_s=10), lease(B, at_s=30)
    samples = [
        Sample(A, Window(WindowKind.SECONDARY, 80.0, 604_800.0, None), NOON + timedelta(seconds=5)),
        Sample(B, Window(WindowKind.SECONDARY, 85.0, 604_800.0, None), NOON + timedelta(seconds=20)),
    ]

    found = simulate([early, late], samples, ACCOUNTS, Rules(Strategy.USAGE_WEIGHTED), slots=8, random=Random(1).random)

    assert found.simulated == {B: Share(1, 1), A: Share(1, 1)}


def test_the_same_numbers_give_the_same_replay_where_the_strategy_draws() -> None:
    leases = [lease(A, at_s=i) for i in range(50)]

    assert replayed(leases, Strategy.CAPACITY_WEIGHTED) == replayed(leases, Strategy.CAPACITY_WEIGHTED)


def lease(account_id: AccountId, *, at_s: float = 0, runs_s: float = 0.5) -> RecordedLease:
    """A lease that ran for a moment."""
    granted_at = NOON + timedelta(seconds=at_s)
    return RecordedLease(account_id, granted_at, granted_at + timedelta(seconds=runs_s), NO_DECISION)


def replayed(leases: Sequence[RecordedLease], strategy: Strategy, *, slots: int = 8) -> Simulation:
    """With that strategy."""
    return simulate(leases, [], ACCOUNTS, Rules(strategy), slots=slots, random=Random(1).random)

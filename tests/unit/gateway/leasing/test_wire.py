"""What a settlement says of a conversation that was failed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.leasing import wire
from codex_lb.gateway.leasing.lease import Lease, LeaseEnd, Timings
from codex_lb.gateway.outcome import Abandoned, Blame, Broken, Completed, Fault, Limited, Outcome, Rejected

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HELD = Lease("lease", "c", "chatgpt-c", "token", pb.HeldLease(lease_id="lease"))
KEY = b"s-conversation"


def settled(outcome: Outcome, *, silent_s: float = 0.0, has_begun: bool = False) -> pb.Settlement:
    end = LeaseEnd(outcome, Timings(), NOON, calls=1, failure_keys=(KEY,))
    end.silent_s, end.has_begun = silent_s, has_begun
    return wire.settlement(HELD, end)


@pytest.mark.parametrize(
    "outcome",
    [
        Broken(Fault("server_error", Blame.UPSTREAM, "…")),
        Broken(Fault("server_is_overloaded", Blame.MODEL, "…")),
        Broken(Fault("upstream_request_timeout", Blame.US, "…")),
        Rejected(Fault("token_expired", Blame.ACCOUNT, "…")),
        Limited(Fault("rate_limit_exceeded", Blame.ACCOUNT, "…")),
        Rejected(Fault("previous_response_not_found", Blame.CLIENT, "…")),
    ],
    ids=lambda outcome: outcome.fault.code,
)
def test_a_failure_that_may_not_meet_the_conversation_elsewhere_is_told(
    outcome: Outcome,
) -> None:
    told = settled(outcome)

    assert told.failed_affinity_keys == [KEY]


@pytest.mark.parametrize(
    "outcome",
    [
        Completed(None, "", ""),
        Rejected(Fault("invalid_prompt", Blame.CLIENT, "…")),
        Broken(Fault("upstream_unavailable", Blame.NETWORK, "…")),
    ],
    ids=["an answer", "the client's mistake", "our own network"],
)
def test_what_would_be_the_same_elsewhere_is_no_failure_of_the_conversation(outcome: Outcome) -> None:
    told = settled(outcome)

    assert told.failed_affinity_keys == []


def test_a_client_that_hung_up_on_silence_was_failed_and_one_that_hung_up_on_an_answer_was_not() -> None:
    silence = settled(Abandoned(), silent_s=12.0)
    haste = settled(Abandoned(), silent_s=2.0)
    thought = settled(Abandoned(), silent_s=30.0, has_begun=True)
    standstill = settled(Abandoned(), silent_s=90.0, has_begun=True)

    assert [bool(told.failed_affinity_keys) for told in (silence, haste, thought, standstill)] == [
        True,
        False,
        False,
        True,
    ]

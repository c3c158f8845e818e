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
    timings = Timings(dispatched_s=1.0, total_s=1.0 + silent_s)
    end = LeaseEnd(outcome, timings, NOON, calls=1, affinity_key=KEY, left=("a", "b"), has_begun=has_begun)
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
def test_a_failure_that_may_not_meet_the_conversation_elsewhere_is_told_with_all_accounts_it_met(
    outcome: Outcome,
) -> None:
    told = settled(outcome)

    assert (told.failed_affinity_key, told.left_account_ids) == (KEY, ["a", "b"])


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

    assert (told.failed_affinity_key, told.left_account_ids) == (b"", [])


def test_a_client_that_hung_up_on_silence_was_failed_and_one_that_hung_up_on_an_answer_was_not() -> None:
    silence = settled(Abandoned(), silent_s=30.0)
    haste = settled(Abandoned(), silent_s=2.0)
    answer = settled(Abandoned(), silent_s=30.0, has_begun=True)

    assert [told.failed_affinity_key for told in (silence, haste, answer)] == [KEY, b"", b""]

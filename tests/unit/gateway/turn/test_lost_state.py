"""Upstream says that it has lost what a request refers to: what that means depends on what the request refers to."""

from __future__ import annotations

import pytest

from codex_lb.gateway.leasing.lease import Anchor, AnchorKind
from codex_lb.gateway.outcome import Blame, Broken, Fault, Outcome, Rejected
from codex_lb.gateway.turn.lost_state import is_lost, resendable, thoughts_to_forget

UNREAD = Rejected(Fault("invalid_encrypted_content", Blame.CLIENT, "…", status=400))
NOT_FOUND = Rejected(Fault("previous_response_not_found", Blame.CLIENT, "…", status=400))
OTHER = Rejected(Fault("invalid_prompt", Blame.CLIENT, "…", status=400))
THOUGHT, BLOB = Anchor(AnchorKind.REASONING, b"thought"), Anchor(AnchorKind.COMPACTION, b"blob")
WHOLE = b'{"input":[]}'


def test_a_thought_that_cannot_be_read_is_left_out_once() -> None:
    sent, left_out = frozenset[bytes](), frozenset({b"thought"})

    assert thoughts_to_forget(UNREAD, (THOUGHT, BLOB), sent) == {b"thought"}
    assert thoughts_to_forget(UNREAD, (THOUGHT, BLOB), left_out) is None
    assert thoughts_to_forget(NOT_FOUND, (THOUGHT,), sent) is None


@pytest.mark.parametrize("outcome", [UNREAD, NOT_FOUND])
def test_a_request_that_refers_to_nothing_is_resent(outcome: Rejected) -> None:
    resent = resendable(outcome, WHOLE, (THOUGHT,))

    assert isinstance(resent, Broken)
    assert (resent.fault.blame, resent.fault.code) == (Blame.UPSTREAM, outcome.fault.code)


@pytest.mark.parametrize(
    ("plain", "anchors"),
    [
        (b'{"previous_response_id":"resp_1","input":[]}', ()),
        (b'{"previous_response_id":', ()),
        (WHOLE, (BLOB,)),
    ],
    ids=["continues a response", "cannot be read", "holds a compacted history"],
)
def test_what_only_the_client_can_mend_is_left_to_it(plain: bytes, anchors: tuple[Anchor, ...]) -> None:
    assert resendable(NOT_FOUND, plain, anchors) == NOT_FOUND


def test_words_about_a_response_are_no_reference_to_one() -> None:
    assert isinstance(resendable(NOT_FOUND, b'{"input":[{"text":"\\"previous_response_id\\""}]}', ()), Broken)
    assert isinstance(resendable(NOT_FOUND, b'{"previous_response_id":null}', ()), Broken)


def test_no_other_refusal_is_about_lost_state() -> None:
    others: list[Outcome] = [OTHER, Broken(NOT_FOUND.fault)]

    assert [is_lost(outcome) for outcome in (UNREAD, NOT_FOUND, *others)] == [True, True, False, False]

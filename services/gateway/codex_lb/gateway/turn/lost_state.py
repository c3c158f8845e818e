"""What becomes of a turn when upstream says that it has lost what the request refers to. Pure.

A thought may be left out; a response that is continued, or a compacted history, may not: its client must send everything
again. A request that refers to nothing of the kind holds all there is, so the fault is upstream's and the turn is resent.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from codex_lb.gateway.leasing.lease import Anchor, AnchorKind
from codex_lb.gateway.outcome import STATE_LOST, Blame, Broken, Outcome, Rejected


class Referring(msgspec.Struct):
    """What is read of a body to know whether it continues a response."""

    previous_response_id: object = None


def thoughts_to_forget(
    outcome: Outcome, anchors: tuple[Anchor, ...], left_out: frozenset[bytes]
) -> frozenset[bytes] | None:
    """Every thought, when upstream cannot read one that it was sent; None when leaving thoughts out helps nobody."""
    thoughts = frozenset(anchor.digest for anchor in anchors if anchor.kind is AnchorKind.REASONING)
    is_unread = isinstance(outcome, Rejected) and outcome.fault.code == "invalid_encrypted_content"
    return thoughts if is_unread and thoughts - left_out else None


def is_lost(outcome: Outcome) -> bool:
    """Whether upstream says so."""
    return isinstance(outcome, Rejected) and outcome.fault.code in STATE_LOST


def resendable(outcome: Outcome, plain: bytes, anchors: tuple[Anchor, ...]) -> Outcome:
    """The same, taken for a failure of upstream's own where the request refers to nothing that could be lost."""
    if not isinstance(outcome, Rejected) or refers_back(plain) or any(a.kind is AnchorKind.COMPACTION for a in anchors):
        return outcome
    return Broken(replace(outcome.fault, blame=Blame.UPSTREAM))


def refers_back(plain: bytes) -> bool:
    """Whether a body continues a response that it does not hold."""
    if b'"previous_response_id"' not in plain:
        return False
    try:
        return msgspec.json.decode(plain, type=Referring).previous_response_id is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True  # nobody can tell: the client is told what upstream said

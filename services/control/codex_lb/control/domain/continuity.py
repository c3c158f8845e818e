"""Whose a turn is: what the anchors and affinities it names say about the account that should serve it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import AnchorKind, ContinuityClass, Wanted

# State without which the turn means nothing: only its owner will do. Reasoning may be left out, at the price of thought.
BINDING = frozenset({AnchorKind.COMPACTION, AnchorKind.FILE})


@dataclass(frozen=True, slots=True)
class Claim:
    """What a turn asks of selection, and why."""

    preferred: AccountId | None
    is_bound: bool
    is_worth_waiting: bool  # for a slot of the preferred account, a moment, before another one is taken
    reason: str  # for the decision record; empty when nothing ties the turn


FREE = Claim(None, is_bound=False, is_worth_waiting=False, reason="")


def claim(wanted: Wanted, owners: Mapping[bytes, AccountId], affinities: Mapping[bytes, AccountId]) -> Claim:
    """The strongest tie there is: what only goes on where it is, then what is merely better there, then habit.

    `owners` and `affinities` hold what is known of the turn's anchors and keys; what is unknown ties nothing.
    """
    is_bound = wanted.continuity.kind is ContinuityClass.OWNER_BOUND
    if wanted.preferred is not None and is_bound:
        return Claim(wanted.preferred, is_bound=True, is_worth_waiting=True, reason="held_open")
    known = [(anchor, owners[anchor.digest]) for anchor in wanted.continuity.anchors if anchor.digest in owners]
    binding = [(anchor, owner) for anchor, owner in known if anchor.kind in BINDING]
    if binding:
        anchor, owner = binding[-1]  # the newest: an earlier blob is contained in a later one
        return Claim(owner, is_bound=True, is_worth_waiting=True, reason=f"anchor:{anchor.kind}")
    if wanted.preferred is not None:
        return Claim(wanted.preferred, is_bound=False, is_worth_waiting=False, reason="held_open")
    if known:
        anchor, owner = known[-1]  # the newest: after a move, the new account has thought last
        return Claim(owner, is_bound=False, is_worth_waiting=True, reason=f"anchor:{anchor.kind}")
    for key in wanted.continuity.affinity_keys:
        if key in affinities:
            return Claim(affinities[key], is_bound=False, is_worth_waiting=False, reason="affinity")
    return FREE


def foreign(wanted: Wanted, owners: Mapping[bytes, AccountId], account_id: AccountId) -> tuple[bytes, ...]:
    """Anchors of the turn that the account cannot read. An unknown owner may be anybody: upstream will say."""
    return tuple(
        anchor.digest
        for anchor in wanted.continuity.anchors
        if anchor.digest in owners and owners[anchor.digest] != account_id
    )

"""A turn that asks for a lease: what it wants, what it is tied to, and what it may be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from codex_lb.control.domain.continuity import Claim, claim
from codex_lb.control.domain.ids import AccountId, ReplicaId
from codex_lb.control.domain.lease import Lease, Wanted
from codex_lb.control.usecases.refusals import Refused


class Granted(Struct, frozen=True):
    """A lease with what the gateway needs to use it."""

    lease: Lease
    access_token: str
    chatgpt_account_id: str
    in_use: int
    slots: int
    foreign_anchors: tuple[bytes, ...] = ()
    creating: int = 0
    create_slots: int = 0


class Ties(Struct, frozen=True):
    """What is known of the anchors and affinities that a turn names."""

    owners: Mapping[bytes, AccountId]
    affinities: Mapping[bytes, AccountId]
    failed: tuple[AccountId, ...]  # where upstream failed the conversation a moment ago, the latest last
    failing: tuple[AccountId, ...]  # and where it failed anybody, if that concerns the turn


@dataclass(eq=False, slots=True)
class Turn:
    """A turn that asks for a lease."""

    wanted: Wanted
    owner: ReplicaId
    asked_at: float  # by the monotonic clock
    answer: asyncio.Future[Granted | Refused]
    ties: Ties
    unreadable: dict[AccountId, str] = field(default_factory=dict)
    is_holding_out: bool = False  # for a slot of accounts that are worth the wait
    is_in_the_dark: bool = False  # an account would do, but nobody can tell whether its slots are free
    kind: Hashable = None
    position: int = 0

    @property
    def key(self) -> str:
        """Who is to get a fair share."""
        return self.wanted.api_key_id

    @property
    def tie(self) -> Claim:
        """What it asks of selection for the sake of its conversation."""
        return claim(self.wanted, self.ties.owners, self.ties.affinities, self.ties.failed, self.ties.failing)

    def waited_s(self, now: float) -> float:
        """For how long it has been asking, at an instant of the monotonic clock."""
        return now - self.asked_at

    def left_s(self, now: float) -> float:
        """For how long it goes on asking."""
        return self.wanted.wait_max_s - self.waited_s(now)

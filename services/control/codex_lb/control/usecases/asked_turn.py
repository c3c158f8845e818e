"""A turn that asks for a lease: what it wants, what it is tied to, and what it may be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from codex_lb.control.domain.continuity import Claim, claim
from codex_lb.control.domain.ids import AccountId, ReplicaId
from codex_lb.control.domain.lease import Lease, Wanted
from codex_lb.control.usecases.refusals import Refused

# Of the time that a turn may wait, for a slot of the account that knows the conversation, before its cache and thoughts are
# given up; and for one of any account that did not fail it, before it is tried again where it was failed. Conversations that
# ask for more slots than there are read up to 14 % more than they must if they give up after 2 s, and 3 % if after 4 s.
HOLD_OUT_SHARE = 0.5
HOLD_OUT_S_MAX = 10.0


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
    kept_s: float = 0.0  # before anybody was served, while control found out what is held
    unreadable: dict[AccountId, str] = field(default_factory=dict)
    is_holding_out: bool = False  # for a slot of accounts that are worth the wait
    has_held_out: bool = False  # for as long as it may
    is_in_the_dark: bool = False  # an account would do, but nobody can tell whether its slots are free
    position: int = 0

    @property
    def holds_out_s(self) -> float:
        """For how long after it asked it may pass over accounts that could serve it: a share of when there were any."""
        return self.kept_s + min(HOLD_OUT_S_MAX, HOLD_OUT_SHARE * (self.wanted.wait_max_s - self.kept_s))

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

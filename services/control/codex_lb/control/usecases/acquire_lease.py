"""Grants a lease: eligibility, strategy and slot in one step, from memory alone; or says why there is none.

Turns that find no slot wait in line (`waiting_line.py`); while anybody waits, everybody lines up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count
from typing import assert_never

import anyio
from msgspec.structs import replace

from codex_lb.control.domain.candidate import KEY_BUSY, NO_SLOT
from codex_lb.control.domain.continuity import Claim, foreign, is_hurt, orphans
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Decision, Lease, Wanted, epoch_of
from codex_lb.control.domain.selection import Choice, Question
from codex_lb.control.errors import CoordinationUnavailableError, CredentialUnreadableError
from codex_lb.control.usecases.asked_turn import Granted, Ties, Turn
from codex_lb.control.usecases.key_limits import KeyLimits, KeyRefusal
from codex_lb.control.usecases.lease_ports import Continuities, Leases, NoSlot, Outdated, Shortfall, Uncounted
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.mend_keys import MendKeys
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.refusals import RefusalReason, Refused, refusal, refusal_of_key
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.usecases.waiting_line import WAITING_MAX, Kind, WaitingLine
from codex_lb.kit.clock import Clock

IN_THE_DARK = "Nobody can tell at the moment which accounts are free: Redis is away. Try again in a few seconds."
UNCOUNTED = "Nobody can tell at the moment what the API key may still use. Try again in a few seconds."
TAKES_MAX = 8  # slots that other controls may snatch away before a turn lines up


class AcquireLease:
    """The verb. One object for the life of control, because epochs rise through it."""

    def __init__(
        self,
        pool: Pool,
        leases: Leases,
        selector: Selector,
        clock: Clock,
        *,
        term: int,
        book: SettingsBook,
        continuities: Continuities,
        limits: KeyLimits,
        mend: MendKeys,
        new_lease_id: Callable[[], str],
        open_from: float = 0.0,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._pool = pool
        self._leases = leases
        self._selector = selector
        self._clock = clock
        self._term = term
        self._book = book
        self._continuities = continuities
        self._limits = limits
        self._mend = mend
        self._new_lease_id = new_lease_id
        self._counter = count(1)
        # Until this monotonic instant gateways may still announce what an earlier control granted; granting before
        # would count slots that are taken as free.
        self._open_from = open_from
        self._line = WaitingLine(self, leases.held_by_key, clock, waiting_max=waiting_max)
        pool.on_change(self._line.account_changed)
        leases.on_change(self._line.account_changed)
        book.on_change(self._line.everything_changed)
        mend.on_done(self._line.everything_changed)

    @property
    def waiting(self) -> int:
        """Turns in line."""
        return len(self._line)

    async def __call__(self, wanted: Wanted, owner: ReplicaId) -> Granted | Refused:
        """A lease now, or within the wait the turn allows, or a refusal."""
        answer = await self.at_once(wanted, owner)
        return await self.wait(answer) if isinstance(answer, Turn) else answer

    async def at_once(self, wanted: Wanted, owner: ReplicaId) -> Granted | Refused | Turn:
        """A lease or a refusal now, or the turn, which is to `wait`."""
        asked_at = self._clock.monotonic()
        early_s = self._open_from - asked_at
        while early_s > 0:
            await asyncio.sleep(early_s)  # whose timer may fire a little before its time
            early_s = self._open_from - self._clock.monotonic()
        kept_s, answer_to_come = self._clock.monotonic() - asked_at, asyncio.get_running_loop().create_future()
        turn = Turn(wanted, owner, asked_at, answer_to_come, await self._ties(wanted), kept_s=kept_s)
        if not self._line:
            answer = await self.attempt(turn)
            if answer is not None:
                return answer
        elif self._line.is_full or (self.is_busy(turn.key) and self._line.is_full_of(turn.key)):
            return self.refused(turn)
        else:
            turn.is_holding_out = turn.tie.is_worth_waiting or turn.tie.is_hurt  # most likely; it was not looked at yet
        return turn

    async def wait(self, turn: Turn) -> Granted | Refused:
        """A lease within the wait the turn allows, or a refusal."""
        return await self._line.wait(turn)

    async def run(self) -> None:
        """Serves those who wait, for as long as control lives."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._mend.run)
            await self._line.run()

    async def attempt(self, turn: Turn) -> Granted | Refused | None:
        """A lease or a refusal now; None when waiting may help."""
        for _ in range(TAKES_MAX):
            tie = turn.tie
            choice = self._choose(turn, tie)
            turn.is_holding_out = self._is_worth_waiting(turn, tie, choice)
            if turn.is_holding_out:
                return None
            if choice.account_id is None:
                is_hopeless = self._left_s(turn) <= 0 or not (choice.is_busy or self._returns_soon(turn, tie, choice))
                return self._refusal(turn, choice, tie) if is_hopeless else None
            if self.is_busy(turn.key):
                return None if self._left_s(turn) > 0 else self.refused(turn)
            try:
                # Not shielded: `take` itself sees to it that what it was cancelled in is free again, and behind it nothing
                # waits, so no slot is taken for a turn that is gone.
                granted = await self._grant(turn, choice.account_id, choice.decision)
            except CoordinationUnavailableError:
                turn.is_in_the_dark = True
                return None if self._left_s(turn) > 0 else self.refused(turn)
            turn.is_in_the_dark = False
            if granted is not None:
                return granted
        return None

    def refused(self, turn: Turn) -> Refused:
        """Why a turn that has waited long enough gets nothing."""
        tie = turn.tie
        choice = self._choose(turn, tie)
        if choice.account_id is None:
            return self._refusal(turn, choice, tie)
        decision = self._told(turn, choice.decision)
        if turn.is_in_the_dark or self._mend.is_mending(turn.key):
            unknown = IN_THE_DARK if turn.is_in_the_dark else UNCOUNTED
            return Refused(RefusalReason.COORDINATION_UNAVAILABLE, unknown, None, None, decision)
        if self.is_busy(turn.key):
            return refusal_of_key(self._limits.busy(turn.key), for_a_busy_key(decision))
        # Others were before it.
        message = "Every account that could serve is busy. Try again in a few seconds."
        return Refused(RefusalReason.POOL_BUSY, message, None, None, decision)

    async def give_back(self, answer: Granted | Refused | Turn) -> None:
        """Nobody wants it any more."""
        if isinstance(answer, Granted):
            await self._leases.end(answer.lease.lease_id, epoch=answer.lease.epoch)

    def kind_of(self, turn: Turn) -> Kind:
        """What a turn waits for: the one account that will do, or that is worth the wait; else any that it need not avoid."""
        tie = turn.tie
        holds_out = turn.is_holding_out and self._may_hold_out(turn)
        avoided = {*turn.wanted.excluded, *((*tie.avoided, *tie.unsteady) if holds_out else ())}
        owner = tie.preferred if tie.is_bound or (holds_out and not tie.is_hurt) else None
        return Kind(turn.wanted.model, owner, frozenset(avoided), self._limits.scope(turn.key))

    def is_busy(self, key: str) -> bool:
        """Whether an API key runs as many turns as it may, at all gateways together, or nobody knows what it may."""
        slots = self._limits.slots(key)
        return (slots > 0 and self._leases.held_by_key(key) >= slots) or self._mend.is_mending(key)

    def next_change_in(self) -> float | None:
        """Seconds until time alone changes what some account can do; None when it never does."""
        return self._selector.next_change_in()

    def _refusal(self, turn: Turn, choice: Choice, tie: Claim) -> Refused:
        return refusal(replace(choice, decision=self._told(turn, choice.decision)), is_bound=tie.is_bound)

    async def _ties(self, wanted: Wanted) -> Ties:
        keys = wanted.continuity.affinity_keys
        affinities = await self._continuities.affinities(keys) if keys else {}
        owners = await self._owners(wanted, affinities) if wanted.continuity.anchors else {}
        failed = await self._continuities.failed_lately(keys) if keys else ()
        failing = await self._continuities.failing() if is_hurt(wanted, failed) else ()
        return Ties(owners, affinities, failed, failing)

    async def _owners(self, wanted: Wanted, affinities: Mapping[bytes, AccountId]) -> Mapping[bytes, AccountId]:
        owners = await self._continuities.owners([anchor.digest for anchor in wanted.continuity.anchors])
        ownerless = orphans(wanted, owners, affinities)
        for owner in set(ownerless.values()):
            await self._continuities.remember([anchor for anchor, its in ownerless.items() if its == owner], owner)
        return {**owners, **{anchor.digest: owner for anchor, owner in ownerless.items()}}

    def _choose(self, turn: Turn, tie: Claim) -> Choice:
        excluded = {**turn.wanted.excluded, **turn.unreadable}
        for avoided in tie.cautions():
            elsewhere = self._choose_among(turn, tie, {**avoided, **excluded})
            if elsewhere.account_id is not None or (elsewhere.is_busy and self._may_hold_out(turn)):
                return elsewhere
        return self._choose_among(turn, tie, excluded)

    def _choose_among(self, turn: Turn, tie: Claim, excluded: dict[AccountId, str]) -> Choice:
        return self._selector.choose(
            Question(
                plans=self._selector.plans_offering(turn.wanted.model),
                excluded=excluded,
                scope=self._limits.scope(turn.key),
                preferred=tie.preferred,
                is_bound=tie.is_bound,
                reason=tie.reason,
            )
        )

    def _is_worth_waiting(self, turn: Turn, tie: Claim, choice: Choice) -> bool:
        """Whether an account lacks but a slot, may have one in a moment, and is worth that moment.

        So are accounts that failed nobody, to a conversation that has only others left, and the account that can read the
        whole conversation, to every other.
        """
        if tie.is_bound or not self._may_hold_out(turn):
            return False
        if tie.is_hurt:
            return choice.account_id is None and choice.is_busy
        if not tie.is_worth_waiting or tie.preferred in {None, choice.account_id}:
            return False
        return any(p.account_id == tie.preferred and p.reason == NO_SLOT for p in choice.decision.passed_over)

    def _may_hold_out(self, turn: Turn) -> bool:
        return not turn.has_held_out and self._waited_s(turn) < turn.holds_out_s

    def _returns_soon(self, turn: Turn, tie: Claim, choice: Choice) -> bool:
        """Whether an account returns that the turn can wait for: a rate that is over in a moment is worth the moment."""
        if choice.retry_at is None or tie.is_bound:
            return False
        return (choice.retry_at - self._clock.now()).total_seconds() <= self._left_s(turn)

    def _waited_s(self, turn: Turn) -> float:
        return turn.waited_s(self._clock.monotonic())

    def _left_s(self, turn: Turn) -> float:
        return turn.left_s(self._clock.monotonic())

    def _told(self, turn: Turn, decision: Decision) -> Decision:
        return replace(decision, waited_s=self._waited_s(turn), position=turn.position)

    async def _grant(self, turn: Turn, account_id: AccountId, decision: Decision) -> Granted | Refused | None:
        member = self._pool.get(account_id)
        if member is None:
            return None
        account, wanted, settings = member.account, turn.wanted, self._book.now
        try:
            access_token = self._pool.access_token(member)
        except CredentialUnreadableError:
            turn.unreadable[account_id] = "credential_unreadable"
            return None
        terms = self._limits.terms(wanted)
        if isinstance(terms, KeyRefusal):
            return refusal_of_key(terms, self._told(turn, decision))
        lease = Lease(
            lease_id=LeaseId(self._new_lease_id()),
            epoch=epoch_of(self._term, next(self._counter)),
            account_id=account_id,
            generation=account.generation,
            turn_id=wanted.turn_id,
            attempt=wanted.attempt,
            work=wanted.work,
            api_key_id=wanted.api_key_id,
            model=wanted.model,
            reservation=(),
            granted_at=self._clock.now(),
            decision=self._told(turn, decision) if turn.position else decision,
        )
        taken = await self._leases.take(
            lease,
            turn.owner,
            slots=settings.account_stream_limit,
            create_slots=settings.account_create_limit,
            terms=terms,
        )
        match taken:
            case Lease():
                return await self._granted(turn, taken, access_token, account.chatgpt_account_id)
            case NoSlot():
                return None
            case Shortfall():
                return refusal_of_key(self._limits.short(turn.key, taken), self._told(turn, decision))
            case Uncounted() | Outdated():
                self._mend.want(turn.key, is_outdated=isinstance(taken, Outdated))
                return None
            case _:
                assert_never(taken)

    async def _granted(self, turn: Turn, lease: Lease, access_token: str, chatgpt_account_id: str) -> Granted:
        account_id, settings, continuity = lease.account_id, self._book.now, turn.wanted.continuity
        if continuity.affinity_keys:
            await self._continuities.bind(continuity.affinity_keys, account_id)
        return Granted(
            lease,
            access_token,
            chatgpt_account_id,
            self._leases.in_use(account_id),
            settings.account_stream_limit,
            foreign(turn.wanted, turn.ties.owners, account_id),
            self._leases.creating(account_id),
            settings.account_create_limit,
        )


def for_a_busy_key(decision: Decision) -> Decision:
    """Accounts that nothing speaks against are passed over all the same: the key runs as many turns as it may."""
    return replace(
        decision, eligible=0, passed_over_counts={**decision.passed_over_counts, KEY_BUSY: decision.eligible}
    )

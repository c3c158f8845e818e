"""Grants a lease: eligibility, strategy and slot in one step, from memory alone; or says why there is none.

Turns that find no slot line up. While anybody waits, everybody lines up, and one loop serves the queue: whenever
something changes that may help (a slot freed, an account back), those whose turn it is are served, each looked at once
however many wait for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import anyio

from codex_lb.control.domain.candidate import NO_SLOT
from codex_lb.control.domain.continuity import Claim, claim, foreign, orphans
from codex_lb.control.domain.fair_queue import FairQueue
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Decision, Lease, Wanted, epoch_of
from codex_lb.control.domain.selection import Choice, Question
from codex_lb.control.errors import CoordinationUnavailableError, CredentialUnreadableError
from codex_lb.control.usecases.key_limits import KeyLimits, KeyRefusal
from codex_lb.control.usecases.lease_ports import Continuities, Leases
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.refusals import RefusalReason, Refused, refusal, refusal_of_key
from codex_lb.control.usecases.selector import Selector
from codex_lb.kit.clock import Clock

OWNER_WAIT_S = 2.0  # for a slot of the account that knows the conversation, before its thoughts are given up
WAITING_MAX = 10_000  # turns in the queue; more would all wait in vain
TAKES_MAX = 8  # slots that other controls may snatch away before a turn lines up
AWAY_WAIT_S = 4.0  # for Redis, or for gateways to announce what they hold: a little longer than both take
LOOK_AGAIN_S = 1.0  # how soon the queue is looked at anew though nothing was heard: clocks may be set
SHORTEST_WAIT_S = 0.01  # between two looks for the sake of an instant that has all but come


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease with what the gateway needs to use it."""

    lease: Lease
    access_token: str
    chatgpt_account_id: str
    in_use: int
    slots: int
    foreign_anchors: tuple[bytes, ...] = ()
    creating: int = 0
    create_slots: int = 0


@dataclass(frozen=True, slots=True)
class Ties:
    """What is known of the anchors and affinities that a turn names."""

    owners: Mapping[bytes, AccountId]
    affinities: Mapping[bytes, AccountId]
    failed: tuple[AccountId, ...]  # where upstream failed the conversation a moment ago, the latest last


@dataclass(eq=False, slots=True)
class Turn:
    """A turn that asks for a lease."""

    wanted: Wanted
    owner: ReplicaId
    asked_at: float  # by the monotonic clock
    answer: asyncio.Future[Granted | Refused]
    ties: Ties
    unreadable: dict[AccountId, str] = field(default_factory=dict)
    is_holding_out: bool = False  # for a slot of one account
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
        return claim(self.wanted, self.ties.owners, self.ties.affinities, self.ties.failed)


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
        self._new_lease_id = new_lease_id
        self._counter = count(1)
        # Until this monotonic instant gateways may still announce what an earlier control granted; granting before
        # would count slots that are taken as free.
        self._open_from = open_from
        self._waiting_max = waiting_max
        self._queue: FairQueue[Turn] = FairQueue()
        self._changed = asyncio.Event()
        pool.on_change(self._look_again)
        leases.on_change(self._look_again)
        book.on_change(self._look_again)

    @property
    def waiting(self) -> int:
        """Turns in the queue."""
        return len(self._queue)

    async def __call__(self, wanted: Wanted, owner: ReplicaId) -> Granted | Refused:
        """A lease now, or within the wait the turn allows, or a refusal."""
        asked_at = self._clock.monotonic()
        early_s = self._open_from - asked_at
        while early_s > 0:
            await asyncio.sleep(early_s)  # whose timer may fire a little before its time
            early_s = self._open_from - self._clock.monotonic()
        turn = Turn(wanted, owner, asked_at, asyncio.get_running_loop().create_future(), await self._ties(wanted))
        if not self._queue:
            answer = await self._attempt(turn)
            if answer is not None:
                return answer
        elif len(self._queue) >= self._waiting_max:
            return self._refused(turn)
        return await self._wait(turn)

    async def run(self) -> None:
        """Serves the queue for as long as control lives."""
        while True:
            await self._something_changed()
            await self._serve()

    async def _wait(self, turn: Turn) -> Granted | Refused:
        try:
            while True:
                self._line_up(turn)
                await asyncio.wait([turn.answer], timeout=self._patience_s(turn))
                if turn.answer.done():
                    return turn.answer.result()
                self._queue.remove(turn)
                if turn.is_in_the_dark or not turn.is_holding_out or self._left_s(turn) <= 0:
                    return self._refused(turn)
                turn.is_holding_out = False  # long enough: any account will do now
        except asyncio.CancelledError:
            self._queue.remove(turn)
            if turn.answer.done():
                await self._give_back(turn.answer.result())
            turn.answer.cancel()
            raise

    def _line_up(self, turn: Turn) -> None:
        tie = turn.tie
        owner = tie.preferred if tie.is_bound or turn.is_holding_out else None
        scope = self._limits.scope(turn.key)
        turn.kind = (turn.wanted.model, owner, frozenset(turn.wanted.excluded), scope)
        turn.position = self._queue.put(turn)
        self._changed.set()

    def _patience_s(self, turn: Turn) -> float:
        left_s = self._left_s(turn)
        if turn.is_in_the_dark:
            return max(0.0, min(left_s, AWAY_WAIT_S - self._waited_s(turn)))
        return min(left_s, OWNER_WAIT_S - self._waited_s(turn)) if turn.is_holding_out else left_s

    async def _something_changed(self) -> None:
        timeout_s: float | None = None
        if self._queue:
            timeout_s = min(self._selector.next_change_in() or LOOK_AGAIN_S, LOOK_AGAIN_S)
        try:
            async with asyncio.timeout(None if timeout_s is None else max(timeout_s, SHORTEST_WAIT_S)):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def _look_again(self, _: object) -> None:
        if self._queue:
            self._changed.set()

    async def _serve(self) -> None:
        """Grants what can be granted, in fair order; a kind that cannot be served is not tried again."""
        in_vain: set[Hashable] = set()
        while (turn := self._queue.next(self._leases.held_by_key, in_vain)) is not None:
            answer = await self._attempt(turn)
            if answer is None:
                in_vain.add(turn.kind)
                continue
            self._queue.remove(turn)
            if turn.answer.done():
                await self._give_back(answer)
            else:
                turn.answer.set_result(answer)

    async def _attempt(self, turn: Turn) -> Granted | Refused | None:
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
            try:
                with anyio.CancelScope(shield=True):  # a slot that is taken for a turn that is gone must be known to be
                    granted = await self._grant(turn, choice.account_id, choice.decision)
            except CoordinationUnavailableError:
                turn.is_in_the_dark = True
                return None if self._left_s(turn) > 0 else self._refused(turn)
            turn.is_in_the_dark = False
            if granted is not None:
                return granted
        return None

    def _refused(self, turn: Turn) -> Refused:
        tie = turn.tie
        choice = self._choose(turn, tie)
        if choice.account_id is None:
            return self._refusal(turn, choice, tie)
        decision = self._told(turn, choice.decision)
        if turn.is_in_the_dark:
            message = (
                "Nobody can tell at the moment which accounts are free: Redis is away. Try again in a few seconds."
            )
            return Refused(RefusalReason.COORDINATION_UNAVAILABLE, message, None, None, decision)
        # Others were before it.
        message = "Every account that could serve is busy. Try again in a few seconds."
        return Refused(RefusalReason.POOL_BUSY, message, None, None, decision)

    def _refusal(self, turn: Turn, choice: Choice, tie: Claim) -> Refused:
        return refusal(replace(choice, decision=self._told(turn, choice.decision)), is_bound=tie.is_bound)

    async def _ties(self, wanted: Wanted) -> Ties:
        continuity = wanted.continuity
        digests = [anchor.digest for anchor in continuity.anchors]
        owners = await self._continuities.owners(digests) if digests else {}
        keys = continuity.affinity_keys
        affinities = await self._continuities.affinities(keys) if keys else {}
        ownerless, owner = orphans(wanted, owners, affinities)
        if ownerless:
            await self._continuities.remember(ownerless, owner)
            owners = {**owners, **{anchor.digest: owner for anchor in ownerless}}
        return Ties(owners, affinities, await self._continuities.failed_lately(keys[0]) if keys else ())

    def _choose(self, turn: Turn, tie: Claim) -> Choice:
        excluded = {**turn.wanted.excluded, **turn.unreadable}
        for n in range(len(tie.avoided)):  # the one that failed longest ago is taken back first
            elsewhere = self._choose_among(turn, tie, dict.fromkeys(tie.avoided[n:], "failed_lately") | excluded)
            if elsewhere.account_id is not None:
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
        """Whether the account that can read the whole conversation lacks but a slot, and may have one in a moment."""
        if not tie.is_worth_waiting or tie.is_bound or tie.preferred in {None, choice.account_id}:
            return False
        if self._waited_s(turn) >= OWNER_WAIT_S or self._left_s(turn) <= 0:
            return False
        return any(p.account_id == tie.preferred and p.reason == NO_SLOT for p in choice.decision.passed_over)

    def _returns_soon(self, turn: Turn, tie: Claim, choice: Choice) -> bool:
        """Whether an account returns that the turn can wait for: a rate that is over in a moment is worth the moment."""
        if choice.retry_at is None or tie.is_bound:
            return False
        return (choice.retry_at - self._clock.now()).total_seconds() <= self._left_s(turn)

    def _waited_s(self, turn: Turn) -> float:
        return self._clock.monotonic() - turn.asked_at

    def _left_s(self, turn: Turn) -> float:
        return turn.wanted.wait_max_s - self._waited_s(turn)

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
        lease_id = LeaseId(self._new_lease_id())
        reservation = await self._limits.reserve(lease_id, wanted)
        if isinstance(reservation, KeyRefusal):
            return refusal_of_key(reservation, self._told(turn, decision))
        lease = Lease(
            lease_id=lease_id,
            epoch=epoch_of(self._term, next(self._counter)),
            account_id=account_id,
            generation=account.generation,
            turn_id=wanted.turn_id,
            attempt=wanted.attempt,
            work=wanted.work,
            api_key_id=wanted.api_key_id,
            model=wanted.model,
            reservation=reservation,
            granted_at=self._clock.now(),
            decision=self._told(turn, decision) if turn.position else decision,
        )
        is_taken = False
        try:
            is_taken = await self._leases.take(
                lease, turn.owner, slots=settings.account_stream_limit, create_slots=settings.account_create_limit
            )
        finally:
            if not is_taken:
                await self._limits.release(lease_id)
        if not is_taken:
            return None
        continuity = wanted.continuity
        if continuity.affinity_keys:
            await self._continuities.bind(continuity.affinity_keys, account_id)
        return Granted(
            lease,
            access_token,
            account.chatgpt_account_id,
            self._leases.in_use(account_id),
            settings.account_stream_limit,
            foreign(wanted, turn.ties.owners, turn.ties.affinities, account_id),
            self._leases.creating(account_id),
            settings.account_create_limit,
        )

    async def _give_back(self, answer: Granted | Refused) -> None:
        """Nobody wants it any more."""
        if isinstance(answer, Granted):
            await self._leases.end(answer.lease.lease_id, epoch=answer.lease.epoch)
            await self._limits.release(answer.lease.lease_id)

"""Grants a lease: eligibility, strategy and slot in one step, from memory alone; or says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import count

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.continuity import Claim, claim, foreign
from codex_lb.control.domain.evidence import PLAN_REFUSALS
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Decision, Lease, Wanted, epoch_of
from codex_lb.control.domain.selection import AT_RATE, STOPPED, Choice, choose
from codex_lb.control.errors import CredentialUnreadableError
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Continuities, Leases
from codex_lb.kit.clock import Clock

SHORTEST_WAIT_S = 0.05
OWNER_WAIT_S = 2.0  # for a slot of the account that knows the conversation, before its thoughts are given up


class RefusalReason(StrEnum):
    """Why no lease is granted."""

    POOL_EXHAUSTED = "pool_exhausted"
    NO_ACCOUNT_AVAILABLE = "no_account_available"
    MODEL_NOT_OFFERED = "model_not_offered"
    POOL_BUSY = "pool_busy"
    OWNER_UNAVAILABLE = "owner_unavailable"


@dataclass(frozen=True, slots=True)
class Granted:
    """A lease with what the gateway needs to use it."""

    lease: Lease
    access_token: str
    chatgpt_account_id: str
    in_use: int
    slots: int
    foreign_anchors: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """No lease, and why."""

    reason: RefusalReason
    message: str
    retry_at: datetime | None
    resets_at: datetime | None
    decision: Decision


class AcquireLease:
    """The verb. One object for the life of control, because epochs rise through it."""

    def __init__(
        self,
        pool: Pool,
        leases: Leases,
        clock: Clock,
        *,
        term: int,
        book: SettingsBook,
        continuities: Continuities,
        new_lease_id: Callable[[], str],
        random: Callable[[], float],
        open_from: float = 0.0,
    ) -> None:
        self._pool = pool
        self._leases = leases
        self._clock = clock
        self._term = term
        self._book = book
        self._continuities = continuities
        self._new_lease_id = new_lease_id
        self._random = random
        self._counter = count(1)
        # Until this monotonic instant gateways may still announce what an earlier control granted; granting before
        # would count slots that are taken as free.
        self._open_from = open_from

    async def __call__(self, wanted: Wanted, owner: ReplicaId) -> Granted | Refused:
        """A lease now, or within the wait the turn allows, or a refusal."""
        started = self._clock.monotonic()
        await self._wait_for_announcements(wanted)
        unreadable: dict[AccountId, str] = {}
        while True:
            tie = self._claim(wanted)
            waited_s = self._clock.monotonic() - started
            choice = self._choose(wanted, tie, unreadable)
            if self._is_worth_waiting(choice, tie, waited_s) and await self._leases.wait_freed(
                timeout_s=OWNER_WAIT_S - waited_s
            ):
                continue
            if choice.account_id is not None:
                member = self._pool.get(choice.account_id)
                granted = await self._grant(member, wanted, owner, choice.decision, waited_s, unreadable)
                if granted is not None:
                    return granted
                continue
            left_s = wanted.wait_max_s - waited_s
            returns_s = self._returns_in(choice, tie)
            if returns_s is not None and returns_s <= left_s:
                # A rate that is over in a moment is worth the moment.
                await self._leases.wait_freed(timeout_s=max(returns_s, SHORTEST_WAIT_S))
                continue
            if not choice.is_busy or left_s <= 0 or not await self._leases.wait_freed(timeout_s=left_s):
                return refusal(choice, waited_s=waited_s, is_bound=tie.is_bound)

    def _claim(self, wanted: Wanted) -> Claim:
        continuity = wanted.continuity
        owners = self._continuities.owners([anchor.digest for anchor in continuity.anchors])
        return claim(wanted, owners, self._continuities.affinities(continuity.affinity_keys))

    def _returns_in(self, choice: Choice, tie: Claim) -> float | None:
        """Seconds until an account returns that the turn could take; None when none is known to."""
        if choice.account_id is not None or choice.is_busy or choice.retry_at is None or tie.is_bound:
            return None
        return max(0.0, (choice.retry_at - self._clock.now()).total_seconds())

    def _is_worth_waiting(self, choice: Choice, tie: Claim, waited_s: float) -> bool:
        """Whether the account that can read the whole conversation lacks but a slot, and may have one in a moment."""
        if not tie.is_worth_waiting or tie.preferred is None or tie.preferred == choice.account_id:
            return False
        reasons = {p.account_id: p.reason for p in choice.decision.passed_over}
        return waited_s < OWNER_WAIT_S and reasons.get(tie.preferred) == "no_slot"

    async def _wait_for_announcements(self, wanted: Wanted) -> None:
        left_s = self._open_from - self._clock.monotonic()
        while left_s > 0:
            await self._leases.wait_freed(timeout_s=min(left_s, max(wanted.wait_max_s, left_s)))
            left_s = self._open_from - self._clock.monotonic()

    def _choose(self, wanted: Wanted, tie: Claim, unreadable: dict[AccountId, str]) -> Choice:
        candidates = self._pool.candidates(
            wanted.model, self._leases, slots=self._book.now.account_stream_limit, now=self._clock.now()
        )
        return choose(
            candidates,
            excluded={**wanted.excluded, **unreadable} if unreadable else wanted.excluded,
            strategy=self._book.now.routing_strategy,
            random=self._random(),
            preferred=tie.preferred,
            is_bound=tie.is_bound,
            reason=tie.reason,
        )

    async def _grant(
        self,
        member: Member | None,
        wanted: Wanted,
        owner: ReplicaId,
        decision: Decision,
        waited_s: float,
        unreadable: dict[AccountId, str],
    ) -> Granted | None:
        if member is None:
            return None
        account = member.account
        try:
            access_token = self._pool.access_token(member)
        except CredentialUnreadableError:
            unreadable[account.account_id] = "credential_unreadable"
            return None
        lease = Lease(
            lease_id=LeaseId(self._new_lease_id()),
            epoch=epoch_of(self._term, next(self._counter)),
            account_id=account.account_id,
            generation=account.generation,
            turn_id=wanted.turn_id,
            attempt=wanted.attempt,
            work=wanted.work,
            api_key_id=wanted.api_key_id,
            model=wanted.model,
            reservation=(),
            granted_at=self._clock.now(),
            decision=replace(decision, waited_s=waited_s) if waited_s > 0 else decision,
        )
        if not await self._leases.take(lease, owner, slots=self._book.now.account_stream_limit):
            return None
        continuity = wanted.continuity
        affinities = self._continuities.affinities(continuity.affinity_keys)
        self._continuities.bind(continuity.affinity_keys, account.account_id)
        owners = self._continuities.owners([anchor.digest for anchor in continuity.anchors])
        return Granted(
            lease,
            access_token,
            account.chatgpt_account_id,
            self._leases.in_use(account.account_id),
            self._book.now.account_stream_limit,
            foreign(wanted, owners, affinities, account.account_id),
        )


LIMIT_CODES = frozenset({*PLAN_REFUSALS, "usage_limit_reached", "rate_limit_exceeded"})  # of faults a turn left for
LIMITED = frozenset({AccountStatus.RATE_LIMITED.value, AccountStatus.QUOTA_EXCEEDED.value, STOPPED})


def refusal(choice: Choice, *, waited_s: float, is_bound: bool = False) -> Refused:
    """Puts a choice of nobody into words."""
    counts = choice.decision.passed_over_counts
    decision = replace(choice.decision, waited_s=waited_s)
    if is_bound:
        message = "The account that holds this conversation cannot serve now."
        return Refused(RefusalReason.OWNER_UNAVAILABLE, message, choice.retry_at, None, decision)
    if choice.is_busy:
        message = "Every account that could serve is busy. Try again in a few seconds."
        return Refused(RefusalReason.POOL_BUSY, message, None, None, decision)
    limited = sum(counts.get(reason, 0) for reason in LIMITED)
    left = sum(counts.get(f"left:{code}", 0) for code in LIMIT_CODES)
    at_rate = counts.get(AT_RATE, 0)
    if at_rate and at_rate + limited + left == choice.decision.candidates:
        message = "Every account in the pool is at its rate limit. Try again in a moment."
        return Refused(RefusalReason.POOL_BUSY, message, choice.retry_at, None, decision)
    if limited and limited + left == choice.decision.candidates:
        message = "Every account in the pool has used up its quota."
        return Refused(RefusalReason.POOL_EXHAUSTED, message, choice.retry_at, choice.retry_at, decision)
    if counts and set(counts) == {"model_not_offered"}:
        message = "No account in the pool has a plan that offers this model."
        return Refused(RefusalReason.MODEL_NOT_OFFERED, message, None, None, decision)
    return Refused(
        RefusalReason.NO_ACCOUNT_AVAILABLE,
        nobody_ready(counts, choice.decision.candidates),
        choice.retry_at,
        None,
        decision,
    )


def nobody_ready(counts: Mapping[str, int], total: int) -> str:
    """A sentence that tells the operator what stands in the way."""
    if not total:
        return "The pool has no accounts yet. Add one, for example with: codex-lb admin accounts import auth.json"
    shares = ", ".join(f"{n} {reason.replace('_', ' ')}" for reason, n in sorted(counts.items()))
    return f"No account can serve this now ({shares})."

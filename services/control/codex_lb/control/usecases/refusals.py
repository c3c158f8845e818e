"""Puts a choice of nobody into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.candidate import AT_RATE, NOT_OFFERED, STOPPED
from codex_lb.control.domain.evidence import PLAN_REFUSALS
from codex_lb.control.domain.lease import Decision
from codex_lb.control.domain.selection import Choice
from codex_lb.control.usecases.key_limits import KeyProblem, KeyRefusal

LIMIT_CODES = frozenset({*PLAN_REFUSALS, "usage_limit_reached", "rate_limit_exceeded"})  # of faults a turn left for
LIMITED = frozenset({AccountStatus.RATE_LIMITED.value, AccountStatus.QUOTA_EXCEEDED.value, STOPPED})


class RefusalReason(StrEnum):
    """Why no lease is granted."""

    POOL_EXHAUSTED = "pool_exhausted"
    NO_ACCOUNT_AVAILABLE = "no_account_available"
    MODEL_NOT_OFFERED = "model_not_offered"
    POOL_BUSY = "pool_busy"
    OWNER_UNAVAILABLE = "owner_unavailable"
    KEY_LIMIT_REACHED = "key_limit_reached"
    KEY_INVALID = "key_invalid"
    COORDINATION_UNAVAILABLE = "coordination_unavailable"


@dataclass(frozen=True, slots=True)
class Refused:
    """No lease, and why."""

    reason: RefusalReason
    message: str
    retry_at: datetime | None
    resets_at: datetime | None
    decision: Decision


def refusal(choice: Choice, *, is_bound: bool) -> Refused:
    """Puts a choice of nobody into words."""
    counts = choice.decision.passed_over_counts
    decision = choice.decision
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
    if counts and set(counts) == {NOT_OFFERED}:
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


KEY_REASONS = {KeyProblem.LIMIT_REACHED: RefusalReason.KEY_LIMIT_REACHED, KeyProblem.INVALID: RefusalReason.KEY_INVALID}


def refusal_of_key(problem: KeyRefusal, decision: Decision) -> Refused:
    """What speaks against the key, not against the pool."""
    return Refused(KEY_REASONS[problem.problem], problem.message, problem.retry_at, problem.resets_at, decision)

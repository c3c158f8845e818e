"""What an account is: one upstream login in the pool, and what its plan is worth."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.window import WindowKind


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an account is. The e-mail is a label: seats of one team share a workspace, not a user."""

    issuer: str
    user_id: str
    workspace_id: str


@dataclass(frozen=True, slots=True)
class Credential:
    """An account's tokens in clear: only inside control and, for its lifetime, a ticket."""

    access_token: str
    refresh_token: str
    id_token: str
    access_expires_at: datetime | None

    def __repr__(self) -> str:
        return "Credential(…)"  # tokens must not reach a log by way of a repr


@dataclass(frozen=True, slots=True)
class Login:
    """What a sign-in or an auth.json yields: who, and the tokens."""

    identity: Identity
    email: str
    plan: str
    chatgpt_account_id: str  # value of upstream's header; empty when there is none
    credential: Credential
    refreshed_at: datetime | None  # when the tokens were issued, as far as the file says


class RoutingPolicy(StrEnum):
    """How eagerly an account is used, among those of the same priority."""

    BURN_FIRST = "burn_first"  # while it can serve, others are spared
    NORMAL = "normal"
    PRESERVE = "preserve"  # only when no other can serve


@dataclass(frozen=True, slots=True)
class Account:
    """One login of the pool, without its tokens."""

    account_id: AccountId
    identity: Identity
    email: str
    plan: str
    chatgpt_account_id: str
    alias: str
    generation: int  # rises with every new pair of tokens
    access_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    refreshed_at: datetime | None = None  # when the tokens were issued; None where nobody noted it
    routing_policy: RoutingPolicy = RoutingPolicy.NORMAL
    priority: int = 0  # accounts of a higher one serve first
    stop_percent: float | None = None  # share of any window from which on it is spared; None: it may be used up

    @property
    def etag(self) -> str:
        """Changes with every change of the row."""
        return f"{self.generation}-{self.updated_at.timestamp():.6f}"


class AccountStatus(StrEnum):
    """Where an account stands; derived from evidence, never stored."""

    ACTIVE = "active"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    PAUSED = "paused"
    REAUTH_REQUIRED = "reauth_required"
    DEACTIVATED = "deactivated"


PLAN_ALIASES = {
    "education": "edu",
    "k12": "edu",
    "guest": "free",
    "go": "free",
    "free_workspace": "free",
    "quorum": "free",
    "unknown": "free",
    "": "free",
}


def is_downgrade(known: str, seen: str) -> bool:
    """Whether a plan that was paid for is said to be free. Upstream says so in error now and then."""
    return _is_paid(known) and not _is_paid(seen)


def _is_paid(plan: str) -> bool:
    return PLAN_ALIASES.get(plan.lower(), plan.lower()) != "free"


# Credits per window and plan (data-plane reference 4.3).
CAPACITY: dict[str, dict[WindowKind, float]] = {
    "free": {WindowKind.PRIMARY: 0.0, WindowKind.SECONDARY: 1134.0, WindowKind.MONTHLY: 1134.0},
    "plus": {WindowKind.PRIMARY: 225.0, WindowKind.SECONDARY: 7560.0},
    "prolite": {WindowKind.PRIMARY: 1125.0, WindowKind.SECONDARY: 37800.0},
    "pro": {WindowKind.PRIMARY: 1500.0, WindowKind.SECONDARY: 50400.0},
}
CAPACITY |= {
    "business": CAPACITY["plus"],
    "team": CAPACITY["plus"],
    "edu": CAPACITY["plus"],
    "enterprise": CAPACITY["pro"],
}


def capacity(plan: str, kind: WindowKind) -> float:
    """Credits a plan has in a window; an unknown plan counts as plus, the commonest paid one."""
    name = PLAN_ALIASES.get(plan.lower(), plan.lower())
    return CAPACITY.get(name, CAPACITY["plus"]).get(kind, 0.0)

"""What is observed about an account, and the one function that says where it stands.

Evidence is folded into a `Record` by `Record.joined`, which is commutative, associative and idempotent: late, repeated
and shuffled evidence gives the same record, so nothing can be stuck in a state that newer evidence has outdated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.window import Window, WindowKind

USAGE_LAG = timedelta(seconds=120)  # upstream's usage endpoint may still show room for this long after a refusal
NEW_WINDOW_FROM = timedelta(seconds=60)  # resets_at moved by more than jitter: upstream began another window
REFUSED_WITHOUT_DEADLINE = timedelta(seconds=60)  # how long a refusal that names no time is believed
QUOTA_WITHOUT_DEADLINE = timedelta(hours=1)
RATE_BELIEVED_MAX = timedelta(minutes=15)  # a "rate" that lasts longer is a window, and ends with it
DEADLINE_MAX = timedelta(days=366)  # a later deadline is a mistake of upstream's and is cut to this

# Codes with which upstream or the issuer closes an account for good, and those that end a login (data-plane 2.10).
CLOSED_CODES = frozenset({"account_deactivated", "account_suspended", "account_deleted"})
# Codes with which upstream says that a window or the plan is used up; a refusal with any other is for the moment.
QUOTA_CODES = frozenset({"usage_limit_reached", "insufficient_quota", "usage_not_included", "quota_exceeded"})
LOGIN_CODES = frozenset(
    {
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
        "invalid_grant",
        "token_invalidated",
        "token_expired",
        "app_session_terminated",
        "account_session_expired",
        "account_auth_invalidated",
    }
)


class Source(StrEnum):
    """Where a usage sample comes from."""

    POLL = "poll"
    HEADERS = "headers"
    EVENT = "event"


class RefusalKind(StrEnum):
    """What upstream said no for."""

    RATE = "rate"  # too much at the moment
    QUOTA = "quota"  # the plan's window is used up


class OperatorAction(StrEnum):
    """What an operator did."""

    PAUSED = "paused"
    RESUMED = "resumed"


class UsageSeen(Struct, frozen=True):
    """A window as upstream showed it. Never blocks by itself; may lift a block."""

    window: Window
    observed_at: datetime
    source: Source


class QuotaSeen(Struct, frozen=True):
    """A quota beside the main one, such as that of a particular model. Says nothing about the main windows."""

    limit_name: str
    windows: tuple[Window, ...]
    observed_at: datetime
    source: Source


class CreditsSeen(Struct, frozen=True):
    """What the account may spend beyond its plan."""

    has_credits: bool
    is_unlimited: bool
    balance: str  # as upstream writes it
    observed_at: datetime


class Refused(Struct, frozen=True):
    """Upstream refused a turn for want of quota."""

    kind: RefusalKind
    code: str
    until: datetime | None
    observed_at: datetime

    @property
    def deadline(self) -> datetime:
        """When the refusal ends by itself."""
        if self.until is None:
            believed = QUOTA_WITHOUT_DEADLINE if self.kind is RefusalKind.QUOTA else REFUSED_WITHOUT_DEADLINE
            return self.observed_at + believed
        return min(self.until, self.observed_at + DEADLINE_MAX)


class Served(Struct, frozen=True):
    """Upstream answered a turn to its end."""

    observed_at: datetime


class LoginRejected(Struct, frozen=True):
    """Upstream or the issuer rejected the login of a generation."""

    generation: int
    code: str
    observed_at: datetime
    is_final: bool = False  # the issuer would not renew it: no rotation, only a new sign-in lifts it


class Closed(Struct, frozen=True):
    """Upstream says the account is deactivated, suspended or deleted. A new login lifts it."""

    generation: int
    code: str
    observed_at: datetime


class Reactivated(Struct, frozen=True):
    """An operator lifted what refusals before this moment imposed."""

    observed_at: datetime


class Operated(Struct, frozen=True):
    """An operator paused or resumed the account."""

    action: OperatorAction
    observed_at: datetime


Evidence = UsageSeen | QuotaSeen | CreditsSeen | Refused | Served | LoginRejected | Closed | Reactivated | Operated


class Record(Struct, frozen=True):
    """The newest evidence of each kind: all that the status follows from."""

    usage: Mapping[WindowKind, UsageSeen] = field(default_factory=dict)
    refusals: Mapping[RefusalKind, Refused] = field(default_factory=dict)
    served: Served | None = None
    login_rejected: LoginRejected | None = None
    closed: Closed | None = None
    reactivated: Reactivated | None = None
    operated: Operated | None = None
    quotas: Mapping[str, QuotaSeen] = field(default_factory=dict)
    credits: CreditsSeen | None = None

    def joined(self, evidence: Evidence) -> Record:
        """This record with one more observation; an older one than is held changes nothing."""
        match evidence:
            case UsageSeen(window=window):
                return replace(self, usage=_newest_by(self.usage, window.kind, evidence))
            case QuotaSeen(limit_name=name):
                return replace(self, quotas=_newest_by(self.quotas, name, evidence))
            case CreditsSeen():
                return replace(self, credits=_newest(self.credits, evidence))
            case Refused(kind=kind):
                return replace(self, refusals=_newest_by(self.refusals, kind, evidence))
            case Served():
                return replace(self, served=_newest(self.served, evidence))
            case LoginRejected():
                return replace(self, login_rejected=_newest(self.login_rejected, evidence))
            case Closed():
                return replace(self, closed=_newest(self.closed, evidence))
            case Reactivated():
                return replace(self, reactivated=_newest(self.reactivated, evidence))
            case Operated():
                return replace(self, operated=_newest(self.operated, evidence))
            case _:
                assert_never(evidence)


def record_of(evidence: Iterable[Evidence]) -> Record:
    """All evidence folded, in whatever order it comes."""
    record = Record()
    for one in evidence:
        record = record.joined(one)
    return record


class Standing(Struct, frozen=True):
    """Where an account stands at a moment."""

    status: AccountStatus
    reason: str  # a stable code; empty when active
    until: datetime | None  # when the status ends by itself
    is_probing: bool  # its deadline passed and nothing has shown yet that it serves: one turn may try
    probing_since: datetime | None = None  # that deadline; turns granted before it are no probes

    @property
    def is_ready(self) -> bool:
        """Whether turns may be given to it."""
        return self.status is AccountStatus.ACTIVE


def standing(record: Record, *, generation: int, now: datetime) -> Standing:
    """The status of an account whose login is of the given generation.

    An operator's pause comes first, then what only a new login can lift, then upstream's refusals.
    """
    if record.operated is not None and record.operated.action is OperatorAction.PAUSED:
        return Standing(AccountStatus.PAUSED, "paused", None, is_probing=False)
    if record.closed is not None and record.closed.generation >= generation:
        return Standing(AccountStatus.DEACTIVATED, record.closed.code, None, is_probing=False)
    if record.login_rejected is not None and record.login_rejected.generation >= generation:
        return Standing(AccountStatus.REAUTH_REQUIRED, record.login_rejected.code, None, is_probing=False)
    blocking = [r for r in record.refusals.values() if not _is_lifted(r, record)]
    running = [r for r in blocking if r.deadline > now]
    if running:
        longest = max(running, key=lambda r: (r.deadline, r.kind))
        status = AccountStatus.QUOTA_EXCEEDED if _is_plan_refusal(longest) else AccountStatus.RATE_LIMITED
        return Standing(status, longest.code, longest.deadline, is_probing=False)
    passed = max((r.deadline for r in blocking), default=None)
    return Standing(AccountStatus.ACTIVE, "", None, is_probing=bool(blocking), probing_since=passed)


def is_nothing_new(evidence: Evidence, record: Record, known: Standing) -> bool:
    """Whether an account stands as before, and its windows look as before, after one more observation.

    Most turns say no more than that it serves, which lifts refusals and nothing else, and show the windows as they were.
    """
    match evidence:
        case Served():
            return known.is_ready and not known.is_probing
        case UsageSeen(window=window):
            seen = record.usage.get(window.kind)
            return known.is_ready and not record.refusals and seen is not None and seen.window == window
        case _:
            return False


# Upstream's words for "your plan does not cover this", as against "wait until the window resets".
PLAN_REFUSALS = frozenset({"insufficient_quota", "usage_not_included", "quota_exceeded", "billing_hard_limit_reached"})


def _is_plan_refusal(refusal: Refused) -> bool:
    return refusal.code in PLAN_REFUSALS


def _is_lifted(refusal: Refused, record: Record) -> bool:
    """Whether something newer shows that the refusal no longer holds."""
    if record.reactivated is not None and record.reactivated.observed_at >= refusal.observed_at:
        return True
    if record.served is not None and record.served.observed_at > max(refusal.observed_at, _believed_until(refusal)):
        return True
    if refusal.kind is RefusalKind.RATE and refusal.deadline <= refusal.observed_at + RATE_BELIEVED_MAX:
        return False  # a rate is no window: only time or a served turn ends it
    return any(_shows_room(seen, refusal) for seen in record.usage.values()) and not any(
        _shows_none(seen, refusal) for seen in record.usage.values()
    )


def _believed_until(refusal: Refused) -> datetime:
    # Turns that were running when the account was refused may still end well: they prove nothing about new ones.
    return refusal.observed_at + USAGE_LAG if refusal.deadline > refusal.observed_at + USAGE_LAG else refusal.deadline


def _shows_room(seen: UsageSeen, refusal: Refused) -> bool:
    """A sample newer than the refusal, of a window that began after it or that has had time to catch up."""
    if seen.observed_at <= refusal.observed_at or seen.window.used_percent >= 100:
        return False
    began_anew = (
        refusal.until is not None
        and seen.window.resets_at is not None
        and seen.window.resets_at > refusal.until + NEW_WINDOW_FROM
        and seen.window.resets_at - timedelta(seconds=seen.window.length_s) > refusal.observed_at - NEW_WINDOW_FROM
    )
    return began_anew or seen.observed_at >= refusal.observed_at + USAGE_LAG


def _shows_none(seen: UsageSeen, refusal: Refused) -> bool:
    return seen.observed_at > refusal.observed_at and seen.window.used_percent >= 100


T = TypeVar("T", UsageSeen, QuotaSeen, CreditsSeen, Refused, Served, LoginRejected, Closed, Reactivated, Operated)
K = TypeVar("K", WindowKind, RefusalKind, str)


def _newest(held: T | None, evidence: T) -> T:
    if held is None:
        return evidence
    new, old = _rank(evidence), _rank(held)
    if new == old:  # ordered by content, so that the result does not depend on the order of arrival
        return evidence if repr(evidence) > repr(held) else held
    return evidence if new > old else held


def _newest_by(held: Mapping[K, T], key: K, evidence: T) -> Mapping[K, T]:
    return {**held, key: _newest(held.get(key), evidence)}


def _rank(evidence: Evidence) -> tuple[int, bool, datetime]:
    generation = evidence.generation if isinstance(evidence, LoginRejected | Closed) else 0
    # What the issuer will not renew stays so, whatever turns that still run are told about their access token.
    is_final = isinstance(evidence, LoginRejected) and evidence.is_final
    return (generation, is_final, evidence.observed_at)

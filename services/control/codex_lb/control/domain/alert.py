"""What is worth waking somebody for, in which words, and when it is told again. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from codex_lb.control.domain.account import AccountStatus

POOL_LOW_PERCENT = 15.0  # of the pool's quota left: some tens of minutes at an even pace of 5 h windows
BURST_WITHIN = timedelta(minutes=5)
BURST_TURNS_MIN = 20  # failed ones: fewer may be one client's bad day
BURST_SHARE = 0.5
KEY_NEAR_PERCENT = 80.0
QUIET = timedelta(minutes=15)  # what comes back sooner is not told again


class AlertKind(StrEnum):
    """What an alert is about."""

    REAUTH_REQUIRED = "reauth_required"
    ACCOUNT_CLOSED = "account_closed"
    POOL_LOW = "pool_low"
    POOL_EXHAUSTED = "pool_exhausted"
    ERROR_BURST = "error_burst"
    KEY_LIMIT_NEAR = "key_limit_near"
    KEY_LIMIT_REACHED = "key_limit_reached"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is so now. Kind and subject say whether it is the same as before."""

    kind: AlertKind
    subject: str  # an account's id, a key's id and a limit's; empty for the pool
    title: str
    text: str
    recovers_at: datetime | None = None

    @property
    def key(self) -> str:
        """Two with the same key are one."""
        return f"{self.kind} {self.subject}".strip()


@dataclass(frozen=True, slots=True)
class Seen:
    """An account as far as alerts go."""

    account_id: str
    label: str
    status: AccountStatus
    reason: str
    until: datetime | None
    percent_left: float | None  # of its fullest window; None: nobody knows


@dataclass(frozen=True, slots=True)
class Recent:
    """Turns that ended lately, but for those that failed by the client's own doing, or were cancelled."""

    turns: int
    failed: int


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How a limit of an API key stands."""

    api_key_id: str
    label: str
    limit_id: str
    limit: str  # in words, such as "cost_usd per week"
    percent: float
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that began, and perhaps has ended."""

    alert_id: str
    condition: Condition
    raised_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What follows from how things stand."""

    begun: tuple[Condition, ...] = ()
    ended: tuple[Alert, ...] = ()


def conditions(accounts: Collection[Seen], recent: Recent, keys: Iterable[KeyUse] = ()) -> Iterator[Condition]:
    """All that is worth an alert."""
    for account in accounts:
        if account.status is AccountStatus.REAUTH_REQUIRED:
            yield Condition(
                AlertKind.REAUTH_REQUIRED,
                account.account_id,
                f"{account.label} has to sign in again",
                f"Its login no longer works: {account.reason or 'upstream rejected it'}. Until somebody signs it in"
                f" again it serves nothing: codex-lb admin accounts add --account {account.account_id}",
            )
        if account.status is AccountStatus.DEACTIVATED:
            yield Condition(
                AlertKind.ACCOUNT_CLOSED,
                account.account_id,
                f"{account.label} was closed by upstream",
                f"Upstream says: {account.reason or 'the account is deactivated'}. It serves nothing any more.",
            )
    yield from _of_pool(accounts)
    yield from _of_keys(keys)
    if recent.failed >= BURST_TURNS_MIN and recent.failed >= BURST_SHARE * recent.turns:
        yield Condition(
            AlertKind.ERROR_BURST,
            "",
            f"{recent.failed} of the last {recent.turns} turns failed",
            f"Within {BURST_WITHIN.seconds // 60} minutes, and not by the clients' doing. See: codex-lb admin requests"
            " list --outcome broken --outcome limited --outcome refused",
        )


def changes(
    present: Iterable[Condition], open_alerts: Mapping[str, Alert], *, told: Mapping[str, datetime], now: datetime
) -> Changes:
    """What begins and what ends. `told` says when each key was last told; what is back too soon stays untold."""
    by_key = {condition.key: condition for condition in present}
    begun = [
        condition
        for key, condition in by_key.items()
        if key not in open_alerts and now - told.get(key, datetime.min.replace(tzinfo=now.tzinfo)) >= QUIET
    ]
    ended = [alert for key, alert in open_alerts.items() if key not in by_key]
    return Changes(tuple(begun), tuple(ended))


def _of_pool(accounts: Collection[Seen]) -> Iterator[Condition]:
    usable = [a for a in accounts if a.status not in UNUSABLE]
    if not usable:
        return
    active = [a for a in usable if a.status is AccountStatus.ACTIVE]
    back_at = min((a.until for a in usable if a.status is not AccountStatus.ACTIVE and a.until), default=None)
    back = f" The first one is back at {back_at:%Y-%m-%d %H:%M} UTC." if back_at else ""
    if not active:
        yield Condition(
            AlertKind.POOL_EXHAUSTED,
            "",
            "No account can serve",
            f"All {len(usable)} are refused by upstream.{back}",
            back_at,
        )
        return
    known = [a.percent_left if a.status is AccountStatus.ACTIVE else 0.0 for a in usable if a.percent_left is not None]
    if known and sum(known) / len(known) < POOL_LOW_PERCENT:
        yield Condition(
            AlertKind.POOL_LOW,
            "",
            f"{sum(known) / len(known):.0f} % of the pool's quota is left",
            f"{len(active)} of {len(usable)} accounts can serve.{back}",
            back_at,
        )


def _of_keys(keys: Iterable[KeyUse]) -> Iterator[Condition]:
    for use in keys:
        subject = f"{use.api_key_id} {use.limit_id}"
        resets = f"It begins anew at {use.resets_at:%Y-%m-%d %H:%M} UTC."
        if use.percent >= 100.0:
            title = f"API key {use.label} has used up its limit of {use.limit}"
            text = f"Its turns are refused until then. {resets}"
            yield Condition(AlertKind.KEY_LIMIT_REACHED, subject, title, text, use.resets_at)
        elif use.percent >= KEY_NEAR_PERCENT:
            title = f"API key {use.label} has used {use.percent:.0f} % of its limit of {use.limit}"
            yield Condition(AlertKind.KEY_LIMIT_NEAR, subject, title, resets, use.resets_at)


# What an operator took out, or upstream for good, is no part of what can run low.
UNUSABLE = frozenset({AccountStatus.PAUSED, AccountStatus.REAUTH_REQUIRED, AccountStatus.DEACTIVATED})


class TargetKind(StrEnum):
    """In which form an alert is told."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    DISCORD = "discord"
    TELEGRAM = "telegram"


@dataclass(frozen=True, slots=True)
class Target:
    """Where alerts go. What is secret of it is sealed elsewhere."""

    target_id: str
    name: str
    kind: TargetKind
    host: str  # of its address, for people
    wants: tuple[AlertKind, ...]  # empty: all
    created_at: datetime
    revision: int = 1

    @property
    def etag(self) -> str:
        """Changes with every change of the target."""
        return str(self.revision)

    def is_for(self, kind: AlertKind) -> bool:
        """Whether it wants such alerts."""
        return not self.wants or kind in self.wants or kind is AlertKind.TEST


class DeliveryStage(StrEnum):
    """How far a delivery is."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


TRIES_MAX = 8  # over about three hours; after that the alert is news no more
RETRY_FIRST = timedelta(seconds=10)
RETRY_FACTOR = 4
RETRY_MAX = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An alert on its way to a target."""

    delivery_id: str
    alert_id: str
    target_id: str
    stage: DeliveryStage = DeliveryStage.WAITING
    tries: int = 0
    next_try_at: datetime | None = None
    status: int = 0  # HTTP status of the last answer, 0 for none
    problem: str = ""
    ended_at: datetime | None = field(default=None)


def retry_after(tries: int) -> timedelta | None:
    """How long to wait after so many failed tries; None: it is given up."""
    return min(RETRY_FIRST * RETRY_FACTOR ** (tries - 1), RETRY_MAX) if tries < TRIES_MAX else None

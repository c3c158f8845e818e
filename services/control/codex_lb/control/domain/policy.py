"""What gateways must know to decide without asking: settings, and the state of the pool in a few numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.account import AccountStatus, capacity
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.evidence import Standing, UsageSeen
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.domain.window import WindowKind

OUT_OF_SERVICE = frozenset({AccountStatus.PAUSED, AccountStatus.REAUTH_REQUIRED, AccountStatus.DEACTIVATED})


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The settings a gateway acts on."""

    api_key_auth_enabled: bool = False
    unauthenticated_client_cidrs: tuple[str, ...] = ()
    upstream_stream_transport: str = "auto"
    hide_upstream_quota_from_api_keys: bool = False
    allowed_client_cidrs: tuple[str, ...] = ()


def gateway_settings_of(settings: LiveSettings) -> GatewaySettings:
    """What gateways are told of the settings."""
    return GatewaySettings(
        api_key_auth_enabled=settings.api_key_auth_enabled,
        unauthenticated_client_cidrs=settings.unauthenticated_client_cidrs,
        upstream_stream_transport=settings.upstream_stream_transport.value,
        hide_upstream_quota_from_api_keys=settings.hide_upstream_quota_from_api_keys,
        allowed_client_cidrs=settings.allowed_client_cidrs,
    )


@dataclass(frozen=True, slots=True)
class ReachedLimit:
    """A limit of a key that is used up, and until when."""

    limit: Limit
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A key with what gateways need to refuse early."""

    key: ApiKey
    reached: tuple[ReachedLimit, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolWindow:
    """A window over all accounts that are in service."""

    kind: WindowKind
    used_percent: float  # 0 to 100
    length_s: float
    resets_at: datetime | None  # the earliest
    capacity: float = 0.0  # credits, 0 where no plan has a known amount


@dataclass(frozen=True, slots=True)
class PoolState:
    """The pool in a few numbers."""

    ready_accounts: int = 0
    accounts: int = 0
    windows: tuple[PoolWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What one account adds to the state of the pool."""

    plan: str
    standing: Standing
    usage: Mapping[WindowKind, UsageSeen]


def pool_state_of(shares: Iterable[Share], *, now: datetime) -> PoolState:
    """The state of a pool of these accounts."""
    everybody = list(shares)
    in_service = [share for share in everybody if share.standing.status not in OUT_OF_SERVICE]
    windows = (pool_window(kind, in_service, now=now) for kind in WindowKind)
    return PoolState(
        ready_accounts=sum(share.standing.is_ready for share in everybody),
        accounts=len(everybody),
        windows=tuple(window for window in windows if window is not None),
    )


def pool_window(kind: WindowKind, shares: Iterable[Share], *, now: datetime) -> PoolWindow | None:
    """One window, each account weighted by its plan's capacity; None while nobody has shown it."""
    seen = [(capacity(share.plan, kind), share.usage[kind].window) for share in shares if kind in share.usage]
    if not seen:
        return None
    total = sum(weight for weight, _ in seen)
    # Plans without a known capacity in this window still show how full it is.
    weighted = seen if total else [(1.0, window) for _, window in seen]
    used = sum(weight * window.used_percent_at(now) for weight, window in weighted) / (total or len(weighted))
    resets = [w.resets_at for _, w in seen if w.resets_at is not None and w.resets_at > now]
    return PoolWindow(kind, used, max(w.length_s for _, w in seen), min(resets, default=None), total)

"""What gateways must know to decide without asking: settings, and the state of the pool in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.limit import Limit
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.domain.window import WindowKind


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

"""What an operator may change while the product runs, and what is wrong with a value. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from ipaddress import ip_network

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.errors import InvalidUpdateError

SLOTS_MAX = 10_000  # of one account; far above what upstream serves
CIDRS_MAX = 200
NOBODY = AccountId("")


class Strategy(StrEnum):
    """How to choose among accounts that could all serve."""

    CAPACITY_WEIGHTED = "capacity_weighted"
    USAGE_WEIGHTED = "usage_weighted"
    ROUND_ROBIN = "round_robin"
    FILL_FIRST = "fill_first"
    SEQUENTIAL_DRAIN = "sequential_drain"
    SINGLE_ACCOUNT = "single_account"


class UpstreamTransport(StrEnum):
    """How gateways stream from upstream."""

    AUTO = "auto"
    HTTP = "http"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """Settings that hold from the next turn on. The environment gives the first values, an operator's outrank them."""

    routing_strategy: Strategy = Strategy.CAPACITY_WEIGHTED
    prefer_earlier_reset: bool = True
    single_account: AccountId = NOBODY  # of the strategy of that name
    account_stream_limit: int = 8  # turns an account serves at once, in the whole cluster; 0: no limit
    account_create_limit: int = 0  # turns that upstream has not begun to answer, per account; 0: no limit
    api_key_auth_enabled: bool = False
    unauthenticated_client_cidrs: tuple[str, ...] = ()
    allowed_client_cidrs: tuple[str, ...] = ()
    upstream_stream_transport: UpstreamTransport = UpstreamTransport.AUTO
    hide_upstream_quota_from_api_keys: bool = False


NAMES = frozenset(field.name for field in fields(LiveSettings))


def changed(settings: LiveSettings, values: Mapping[str, object]) -> LiveSettings:
    """The settings with these values. Raises InvalidUpdateError with the field's name."""
    known_fields(values)
    result = replace(settings, **values)  # type: ignore[arg-type]  # faces and store give each field its type
    for name in ("account_stream_limit", "account_create_limit"):
        if not 0 <= getattr(result, name) <= SLOTS_MAX:
            raise InvalidUpdateError(f"settings.{name} must be between 0 and {SLOTS_MAX}.")
    for name in ("unauthenticated_client_cidrs", "allowed_client_cidrs"):
        checked_cidrs(name, getattr(result, name))
    if result.routing_strategy is Strategy.SINGLE_ACCOUNT and not result.single_account:
        raise InvalidUpdateError("settings.single_account must name an account for the strategy single_account.")
    return result


def known_fields(names: Iterable[str]) -> None:
    """Raises InvalidUpdateError for a name that is no setting."""
    for name in names:
        if name not in NAMES:
            raise InvalidUpdateError(f"{name[:100]} is no setting that can be changed.")


def checked_cidrs(name: str, networks: tuple[str, ...]) -> None:
    """Raises InvalidUpdateError for what is no network."""
    if len(networks) > CIDRS_MAX:
        raise InvalidUpdateError(f"settings.{name} may hold {CIDRS_MAX} networks.")
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise InvalidUpdateError(f"settings.{name}: {error}.") from error

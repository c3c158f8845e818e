"""The policy snapshot: what a gateway knows without asking. Streamed by PolicyService.Watch, replaced as a whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network

import grpc.aio
import structlog

from codex_lb.api.control.v1 import policy_pb2 as pb
from codex_lb.api.control.v1 import policy_pb2_grpc
from codex_lb.gateway.leasing import wire
from codex_lb.kit.backoff import Backoff

RECONNECT = Backoff(first_s=0.1, max_s=2.0)
log = structlog.get_logger(__name__)

Network = IPv4Network | IPv6Network


NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ReachedLimit:
    """A limit of a key that is used up."""

    unit: str
    window: str
    model: str  # empty for all
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What a gateway knows of an API key."""

    api_key_id: str
    name: str
    enabled: bool
    expires_at: datetime = NEVER
    replaced_at: datetime = NEVER  # when a rotation's overlap ends, for the secret before it
    allowed_models: frozenset[str] = frozenset()  # empty for all
    enforced_model: str = ""
    enforced_effort: str = ""
    enforced_tier: str = ""
    allowed_efforts: frozenset[str] = frozenset()  # empty for all
    usage_sections: frozenset[str] = frozenset()
    reached_limits: tuple[ReachedLimit, ...] = ()


NO_KEY = KeyPolicy("", "", enabled=False)  # what every unknown key is


@dataclass(frozen=True, slots=True)
class PoolWindow:
    """A window over all accounts."""

    window: str
    used_percent: float
    window_minutes: int
    resets_at: datetime | None
    capacity: float = 0.0  # credits, 0 where nobody knows


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model of the catalog: upstream's entry as JSON."""

    slug: str
    entry_json: bytes


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of the snapshot. Immutable: whoever holds it sees one state."""

    version: int = 0
    history_id: str = ""
    api_key_auth_enabled: bool = False
    unauthenticated_client_networks: tuple[Network, ...] = ()
    allowed_client_networks: tuple[Network, ...] = ()  # empty for everybody
    hide_quota_from_keys: bool = False
    upstream_stream_transport: str = "auto"  # "auto", "http" or "websocket"
    keys: Mapping[bytes, KeyPolicy] = field(default_factory=dict)  # by SHA-256 of the key
    models: tuple[ListedModel, ...] = ()
    catalog_etag: str = ""
    ready_accounts: int = 0
    accounts: int = 0
    windows: tuple[PoolWindow, ...] = ()

    @property
    def is_known(self) -> bool:
        """False until control was heard for the first time."""
        return bool(self.history_id)


class PolicyClient:
    """Keeps `policy` up to date for as long as `run` runs."""

    def __init__(self, channel: grpc.aio.Channel, *, replica_id: str) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self._replica_id = replica_id
        self._digests_of: dict[str, tuple[bytes, ...]] = {}
        self.policy = Policy()
        self.arrived = asyncio.Event()

    async def run(self) -> None:
        """Watches, and resumes where it was cut off."""
        attempt = 0
        while True:
            try:
                request = pb.WatchRequest(
                    replica_id=self._replica_id, version=self.policy.version, history_id=self.policy.history_id
                )
                async for message in self._stub.Watch(request):
                    self.policy = self._applied(message)
                    self.arrived.set()
                    attempt = 0
            except grpc.aio.AioRpcError as error:
                attempt += 1
                log.debug("policy stream broke", code=error.code().name)
            except Exception:  # a message that cannot be applied must not end the gateway: what is held goes on
                attempt += 1
                log.exception("a policy message cannot be applied; keeping what is held", version=self.policy.version)
            await asyncio.sleep(RECONNECT.delay(attempt, random.random()))  # noqa: S311 - spreads reconnects

    def _applied(self, message: pb.WatchResponse) -> Policy:
        """The snapshot after a message; a delta changes only the parts that it has."""
        held = Policy() if message.is_snapshot else self.policy
        policy = replace(held, version=message.version, history_id=message.history_id)
        if message.HasField("settings"):
            settings = message.settings
            policy = replace(
                policy,
                api_key_auth_enabled=settings.api_key_auth_enabled,
                unauthenticated_client_networks=tuple(ip_network(c) for c in settings.unauthenticated_client_cidrs),
                allowed_client_networks=tuple(ip_network(c) for c in settings.allowed_client_cidrs),
                hide_quota_from_keys=settings.hide_upstream_quota_from_api_keys,
                upstream_stream_transport=settings.upstream_stream_transport or "auto",
            )
        if message.is_snapshot or message.api_keys or message.removed_api_key_ids:
            policy = replace(policy, keys=self._keys(policy.keys, message))
        if message.HasField("catalog"):
            models = tuple(ListedModel(m.slug, m.entry_json) for m in message.catalog.models)
            policy = replace(policy, models=models, catalog_etag=message.catalog.etag)
        if message.HasField("pool"):
            pool = message.pool
            policy = replace(
                policy,
                ready_accounts=pool.ready_accounts,
                accounts=pool.accounts,
                windows=tuple(_window(w) for w in pool.windows),
            )
        return policy

    def _keys(self, held: Mapping[bytes, KeyPolicy], message: pb.WatchResponse) -> Mapping[bytes, KeyPolicy]:
        if message.is_snapshot:
            self._digests_of.clear()
        keys = dict(held)
        for api_key_id in (*message.removed_api_key_ids, *(key.api_key_id for key in message.api_keys)):
            for digest in self._digests_of.pop(api_key_id, ()):  # a rotated key has another one
                keys.pop(digest, None)
        for key in message.api_keys:
            by_digest = _keys_of(key)
            self._digests_of[key.api_key_id] = tuple(by_digest)
            keys |= by_digest
        return keys


def _keys_of(message: pb.ApiKeyPolicy) -> dict[bytes, KeyPolicy]:
    """A key by the digest of each secret that opens it."""
    key = KeyPolicy(
        api_key_id=message.api_key_id,
        name=message.name,
        enabled=message.enabled,
        expires_at=wire.read_instant(message.expires_at) if message.HasField("expires_at") else NEVER,
        allowed_models=frozenset(message.allowed_models),
        enforced_model=message.enforced_model,
        enforced_effort=message.enforced_reasoning_effort,
        enforced_tier=message.enforced_service_tier,
        allowed_efforts=frozenset(message.allowed_reasoning_efforts),
        usage_sections=frozenset(message.usage_sections),
        reached_limits=tuple(
            ReachedLimit(x.unit, x.window, x.model, wire.read_instant(x.resets_at)) for x in message.reached_limits
        ),
    )
    keys = {message.key_digest: key}
    if message.previous_key_digest:
        keys[message.previous_key_digest] = replace(key, replaced_at=wire.read_instant(message.previous_key_until))
    return keys


def _window(message: pb.PoolWindow) -> PoolWindow:
    return PoolWindow(
        message.window,
        message.used_percent,
        message.window_minutes,
        wire.read_instant(message.resets_at) if message.HasField("resets_at") else None,
        message.capacity,
    )

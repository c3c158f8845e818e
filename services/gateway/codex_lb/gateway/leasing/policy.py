"""The policy snapshot: what a gateway knows without asking. Streamed by PolicyService.Watch, replaced as a whole."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """What a gateway knows of an API key."""

    api_key_id: str
    name: str
    enabled: bool
    expires_at: datetime | None
    allowed_models: frozenset[str]


@dataclass(frozen=True, slots=True)
class PoolWindow:
    """A window over all accounts."""

    window: str
    used_percent: float
    window_minutes: int
    resets_at: datetime | None


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
        self._digest_of: dict[str, bytes] = {}
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
            self._digest_of.clear()
        keys = dict(held)
        for gone in message.removed_api_key_ids:
            keys.pop(self._digest_of.pop(gone, b""), None)
        for key in message.api_keys:
            keys.pop(self._digest_of.pop(key.api_key_id, b""), None)  # a rotated key has another digest
            self._digest_of[key.api_key_id] = key.key_digest
            keys[key.key_digest] = KeyPolicy(
                api_key_id=key.api_key_id,
                name=key.name,
                enabled=key.enabled,
                expires_at=wire.read_instant(key.expires_at) if key.HasField("expires_at") else None,
                allowed_models=frozenset(key.allowed_models),
            )
        return keys


def _window(message: pb.PoolWindow) -> PoolWindow:
    return PoolWindow(
        message.window,
        message.used_percent,
        message.window_minutes,
        wire.read_instant(message.resets_at) if message.HasField("resets_at") else None,
    )

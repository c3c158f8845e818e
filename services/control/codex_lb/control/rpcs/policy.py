"""PolicyService.Watch: the snapshot, then whatever changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import TypeAlias

import grpc.aio
import structlog

from codex_lb.api.control.v1 import leases_pb2 as lease_pb
from codex_lb.api.control.v1 import policy_pb2 as pb
from codex_lb.api.control.v1 import policy_pb2_grpc
from codex_lb.control.domain.catalog import Catalog
from codex_lb.control.domain.ids import ApiKeyId
from codex_lb.control.domain.limit import LENGTH
from codex_lb.control.domain.policy import GatewayKey, GatewaySettings, PoolState, ReachedLimit
from codex_lb.control.rpcs.failures import told_as_failures
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from codex_lb.control.usecases.policy_feed import PolicyChange, PolicyFeed
from codex_lb.control.usecases.view_key_usage import KeyUsage, ViewKeyUsage
from codex_lb.kit.service import first_of

log = structlog.get_logger(__name__)

UsageContext: TypeAlias = "grpc.aio.ServicerContext[pb.GetKeyUsageRequest, pb.KeyUsage]"
WatchContext: TypeAlias = "grpc.aio.ServicerContext[pb.WatchRequest, pb.WatchResponse]"


class PolicyRpc(policy_pb2_grpc.PolicyServiceServicer):
    """The face of the policy feed."""

    def __init__(self, feed: PolicyFeed, view: ViewKeyUsage) -> None:
        self._feed = feed
        self._view = view
        self._drained = asyncio.Event()

    def drain(self) -> None:
        """Ends every watch, so that gateways look for another control."""
        self._drained.set()

    async def Watch(
        self,
        request: pb.WatchRequest,
        context: WatchContext,  # noqa: ARG002
    ) -> AsyncIterator[pb.WatchResponse]:
        """Answers at once, if only to say that the gateway's version is the newest, then with every change."""
        change = self._feed.since(request.version, request.history_id)
        log.info("policy watched", replica_id=request.replica_id, is_snapshot=change.is_snapshot)
        while not self._drained.is_set():
            yield response(change, self._feed.history_id)
            await first_of(partial(self._feed.changed, change.version), self._drained.wait)
            change = self._feed.since(change.version, self._feed.history_id)

    async def GetKeyUsage(self, request: pb.GetKeyUsageRequest, _: UsageContext) -> pb.KeyUsage:
        """Sums from the ledger, limits from memory."""
        with told_as_failures():
            return key_usage(await self._view(ApiKeyId(request.api_key_id)))


def key_usage(value: KeyUsage) -> pb.KeyUsage:
    """What a key has used."""
    sums = value.sums
    return pb.KeyUsage(
        requests=sums.turns,
        usage=lease_pb.Usage(
            input_tokens=sums.input_tokens,
            cached_input_tokens=sums.cached_input_tokens,
            output_tokens=sums.output_tokens,
            reasoning_tokens=sums.reasoning_tokens,
            total_tokens=sums.total_tokens,
        ),
        cost_micro_usd=sums.cost_micro_usd,
        limits=[
            pb.KeyLimitUse(
                unit=one.limit.unit,
                window=one.limit.window,
                model=one.limit.model,
                amount_max=one.limit.amount_max,
                amount_used=max(0, one.used),
                resets_at=wire_instant(one.resets_at),
                length=wire_seconds(LENGTH[one.limit.window].total_seconds()),
            )
            for one in value.limits
        ],
    )


def response(change: PolicyChange, history_id: str) -> pb.WatchResponse:
    """A change as a message; parts that did not change are left out."""
    message = pb.WatchResponse(version=change.version, history_id=history_id, is_snapshot=change.is_snapshot)
    if change.settings is not None:
        message.settings.CopyFrom(settings(change.settings))
    if change.catalog is not None:
        message.catalog.CopyFrom(catalog(change.catalog))
    if change.pool is not None:
        message.pool.CopyFrom(pool(change.pool))
    message.api_keys.extend(api_key(key) for key in change.keys.changed)
    message.removed_api_key_ids.extend(change.keys.removed)
    return message


def settings(value: GatewaySettings) -> pb.GatewaySettings:
    """Settings."""
    return pb.GatewaySettings(
        api_key_auth_enabled=value.api_key_auth_enabled,
        unauthenticated_client_cidrs=value.unauthenticated_client_cidrs,
        upstream_stream_transport=value.upstream_stream_transport,
        hide_upstream_quota_from_api_keys=value.hide_upstream_quota_from_api_keys,
        allowed_client_cidrs=value.allowed_client_cidrs,
    )


def api_key(value: GatewayKey) -> pb.ApiKeyPolicy:
    """An API key, as gateways are told of it: its digests, never itself."""
    key = value.key
    return pb.ApiKeyPolicy(
        api_key_id=key.api_key_id,
        key_digest=key.digest,
        name=key.name,
        enabled=key.is_enabled,
        expires_at=wire_instant(key.expires_at),
        allowed_models=key.allowed_models,
        enforced_model=key.enforced_model,
        enforced_reasoning_effort=key.enforced_reasoning_effort,
        enforced_service_tier=key.enforced_service_tier,
        allowed_reasoning_efforts=key.allowed_reasoning_efforts,
        reached_limits=[reached_limit(limit) for limit in value.reached],
        previous_key_digest=key.previous_digest,
        previous_key_until=wire_instant(key.previous_until),
        usage_sections=key.usage_sections,
    )


def reached_limit(value: ReachedLimit) -> pb.ReachedLimit:
    """A limit that is used up."""
    limit = value.limit
    return pb.ReachedLimit(
        unit=limit.unit, window=limit.window, model=limit.model, resets_at=wire_instant(value.resets_at)
    )


def catalog(value: Catalog) -> pb.Catalog:
    """The catalog."""
    return pb.Catalog(
        models=[pb.CatalogModel(slug=m.slug, entry_json=m.entry_json, plans=sorted(m.plans)) for m in value.models],
        etag=value.etag,
    )


def pool(value: PoolState) -> pb.PoolState:
    """The state of the pool."""
    return pb.PoolState(
        ready_accounts=value.ready_accounts,
        accounts=value.accounts,
        windows=[
            pb.PoolWindow(
                window=w.kind,
                used_percent=w.used_percent,
                window_minutes=round(w.length_s / 60),
                resets_at=wire_instant(w.resets_at),
                capacity=w.capacity,
            )
            for w in value.windows
        ],
    )

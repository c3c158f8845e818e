"""The composition root of the gateway: everything it is made of, made here, top to bottom, and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import anyio
import structlog
from starlette.types import ASGIApp

from codex_lb.gateway.endpoints import Parts, make_app
from codex_lb.gateway.ingress.images import FetchImages, fetch_nothing
from codex_lb.gateway.leasing.client import LeaseClient, open_lease_client
from codex_lb.gateway.leasing.key_usage import KeyUsages
from codex_lb.gateway.leasing.outbox import Outbox
from codex_lb.gateway.leasing.policy import PolicyClient
from codex_lb.gateway.routes.gate import Gate
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.gateway.turn.forward import Forwards
from codex_lb.gateway.turn.measure import TurnMetrics
from codex_lb.gateway.turn.turn import TurnLimits, Turns
from codex_lb.gateway.upstream.headers import VERSION
from codex_lb.gateway.upstream.http import UpstreamHttp
from codex_lb.gateway.upstream.opening import open_http, open_sockets
from codex_lb.gateway.upstream.websocket import UpstreamSockets
from codex_lb.kit.clock import Clock
from codex_lb.kit.freed_memory import give_back_now_and_then, keep_freed_memory
from codex_lb.kit.health import Health
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.ids import new_id
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.on_demand import on_demand
from codex_lb.kit.rpc_channel import open_channel
from codex_lb.kit.service import Stop

FREED_BYTES_MAX = 64 * 2**20  # kept for the bodies to come, for a minute: a handful of large ones
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway."""

    app: ASGIApp
    health: Health
    turns: Turns
    leases: LeaseClient
    policies: PolicyClient
    metrics: MetricsRegistry
    drain: Callable[[], None]  # from now on new turns are refused


@asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, clock: Clock, *, fetch_images: FetchImages | None = None
) -> AsyncIterator[Gateway]:
    """A gateway attached to control, or on its way there. `fetch_images`: another way than the settings' to get them."""
    replica_id = new_id("gw")
    token = settings.service_token.get_secret_value() if settings.service_token else None
    outbox = Outbox(settings.data_dir / "outbox")
    base_url, connect_timeout_s = settings.upstream_base_url, settings.upstream_connect_timeout_seconds
    async with (
        open_channel(settings.control_target, tls_ca_file=settings.control_tls_ca_file, service_token=token) as channel,
        open_http(base_url, connect_timeout_s=connect_timeout_s) as upstream,
        open_sockets(
            base_url, clock, connect_timeout_s=connect_timeout_s, frame_bytes_max=settings.max_sse_event_bytes
        ) as sockets,
        open_fetcher(settings.image_inline_allowed_hosts) as fetch_public_images,
        open_lease_client(channel, outbox, clock, replica_id=replica_id, version=VERSION) as leases,
        anyio.create_task_group() as tasks,
    ):
        if fetch_images is None:
            fetch_images = fetch_public_images if settings.image_inline_fetch_enabled else fetch_nothing
        policies = PolicyClient(channel, replica_id=replica_id)
        tasks.start_soon(policies.run)
        metrics = MetricsRegistry()
        turns = make_turns(leases, upstream, sockets, policies, metrics, settings, clock)
        measure(metrics, turns, leases)
        forwards = Forwards(leases, upstream, clock, lease_wait_s=settings.lease_wait_seconds)
        gate = make_gate(policies, settings, clock)
        health = health_of(leases, policies)
        parts = Parts(turns, forwards, sockets, gate, policies, fetch_images, KeyUsages(channel), clock, settings)
        app, drain = make_app(parts, health)
        if keep_freed_memory(FREED_BYTES_MAX):
            tasks.start_soon(give_back_now_and_then)
        yield Gateway(app, health, turns, leases, policies, metrics, drain)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_fetcher(allowed_hosts: Collection[str]) -> AsyncIterator[FetchImages]:
    """Fetches; what it takes is loaded for the first image."""

    def load() -> AbstractAsyncContextManager[FetchImages]:
        from codex_lb.gateway.ingress.inline_images import open_image_fetcher  # noqa: PLC0415 - brings aiohttp

        return open_image_fetcher(allowed_hosts)

    async with on_demand(load) as get:

        async def fetch(urls: Sequence[str]) -> dict[str, str]:
            return await (await get())(urls)

        yield fetch


def make_turns(
    leases: LeaseClient,
    upstream: UpstreamHttp,
    sockets: UpstreamSockets,
    policies: PolicyClient,
    metrics: MetricsRegistry,
    settings: GatewaySettings,
    clock: Clock,
) -> Turns:
    """What runs turns; which transport it prefers is the policy's to say, at every turn."""

    def wants_sockets() -> bool:
        return policies.policy.upstream_stream_transport == "websocket"

    return Turns(
        leases, upstream, sockets, clock, limits_of(settings), TurnMetrics(metrics), wants_sockets=wants_sockets
    )


def make_gate(policies: PolicyClient, settings: GatewaySettings, clock: Clock) -> Gate:
    """Who is let in."""
    return Gate(
        policies,
        clock,
        trust_headers=settings.firewall_trust_proxy_headers,
        trusted_proxies=settings.firewall_trusted_proxy_cidrs,
    )


def nothing() -> None:
    """Nobody waits for the metrics to be served."""


def measure(metrics: MetricsRegistry, turns: Turns, leases: LeaseClient) -> None:
    """Shows what is in memory."""
    metrics.gauge("turns_running", "Turns running now.").set_function(lambda: turns.running)
    metrics.gauge("gateway_leases_held", "Leases this gateway holds.").set_function(lambda: leases.held)
    metrics.gauge("gateway_settlements_waiting", "Settlements control has not acknowledged.").set_function(
        lambda: leases.unsettled
    )


def limits_of(settings: GatewaySettings) -> TurnLimits:
    """What a turn may take."""
    return TurnLimits(
        budget_s=settings.proxy_request_budget_seconds,
        idle_s=settings.stream_idle_timeout_seconds,
        keepalive_s=settings.sse_keepalive_interval_seconds,
        lease_wait_s=settings.lease_wait_seconds,
        event_bytes_max=settings.max_sse_event_bytes,
    )


def health_of(leases: LeaseClient, policies: PolicyClient) -> Health:
    """Ready means: control is heard and its policy is known."""
    health = Health()
    health.add("control", lambda: None if leases.is_attached else "not attached to control")
    health.add("policy", lambda: None if policies.policy.is_known else "no policy snapshot yet")
    return health


class GatewayService:
    """The gateway on a port of its own."""

    name = "gateway"

    def __init__(self, settings: GatewaySettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Serves until told to stop, then lets running turns finish."""
        settings = self._settings
        async with open_gateway(settings, self._clock) as gateway:
            server = HttpServer(
                gateway.app,
                (settings.host, settings.port),
                name=self.name,
                drain_s=settings.shutdown_drain_timeout_seconds,
                websockets=True,
            )

            def serving() -> None:
                gateway.health.started()
                log.info("gateway serves", host=settings.host, port=server.port)
                ready()

            async def drain_on_stop() -> None:
                await stop.wait()
                gateway.drain()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(drain_on_stop)
                if settings.metrics_enabled:
                    address = (settings.host, settings.metrics_port)
                    tasks.start_soon(
                        HttpServer(metrics_app(gateway.metrics), address, name="metrics").run, stop, nothing
                    )
                await server.run(stop, serving)
                tasks.cancel_scope.cancel()

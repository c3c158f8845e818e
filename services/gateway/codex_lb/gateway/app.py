"""The composition root of the gateway: everything it is made of, made here, top to bottom, and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from codex_lb.gateway.continuity.answers import MemoryAnswers
from codex_lb.gateway.continuity.owners import MemoryOwners, Owners
from codex_lb.gateway.errors import GatewayError, MethodNotAllowedError, NotFoundError, envelope
from codex_lb.gateway.ingress.inline_images import FetchImages, fetch_nothing, open_image_fetcher
from codex_lb.gateway.leasing.client import LeaseClient, open_lease_client
from codex_lb.gateway.leasing.outbox import Outbox
from codex_lb.gateway.leasing.policy import PolicyClient
from codex_lb.gateway.routes.chat import Chat
from codex_lb.gateway.routes.codex_control import ROUTES as CODEX_CONTROL
from codex_lb.gateway.routes.codex_control import CodexControl
from codex_lb.gateway.routes.compact import Compact
from codex_lb.gateway.routes.files import FileCreation, FileFinalisation
from codex_lb.gateway.routes.forwarding import Forwarding, Kind
from codex_lb.gateway.routes.gate import Gate
from codex_lb.gateway.routes.images import ImageRoute, Images, Variations
from codex_lb.gateway.routes.models import Models
from codex_lb.gateway.routes.pool_usage import PoolUsage
from codex_lb.gateway.routes.responses import Responses
from codex_lb.gateway.routes.responses_ws import ResponsesSocket
from codex_lb.gateway.routes.transcribe import Transcription
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.gateway.turn.delivery import Dialect
from codex_lb.gateway.turn.forward import Forwards
from codex_lb.gateway.turn.measure import TurnMetrics
from codex_lb.gateway.turn.turn import TurnLimits, Turns
from codex_lb.gateway.upstream.headers import VERSION
from codex_lb.gateway.upstream.http import open_upstream
from codex_lb.gateway.upstream.websocket import AiohttpSockets
from codex_lb.kit.clock import Clock
from codex_lb.kit.health import Health, health_routes
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.ids import new_id
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.rpc_channel import open_channel
from codex_lb.kit.service import Stop

ALIAS = "/backend-api/codex/v1/"  # some clients append /v1 to any base URL (data-plane reference 1.3)
CODEX = "/backend-api/codex/"
log = structlog.get_logger(__name__)


class Endpoint(Protocol):
    """An endpoint that can be told to take nothing new."""

    is_draining: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


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
    async with (
        open_channel(settings.control_target, tls_ca_file=settings.control_tls_ca_file, service_token=token) as channel,
        open_upstream(
            settings.upstream_base_url, connect_timeout_s=settings.upstream_connect_timeout_seconds
        ) as upstream,
        open_image_fetcher(settings.image_inline_allowed_hosts) as fetch_public_images,
        open_lease_client(channel, outbox, clock, replica_id=replica_id, version=VERSION) as leases,
        anyio.create_task_group() as tasks,
    ):
        policies = PolicyClient(channel, replica_id=replica_id)
        tasks.start_soon(policies.run)
        gate = Gate(
            policies,
            clock,
            trust_headers=settings.firewall_trust_proxy_headers,
            trusted_proxies=settings.firewall_trusted_proxy_cidrs,
        )
        metrics = MetricsRegistry()
        sockets = AiohttpSockets(
            upstream.session, settings.upstream_base_url, clock, frame_bytes_max=settings.max_sse_event_bytes
        )

        def offers_websockets() -> bool:
            return policies.policy.upstream_stream_transport != "http"

        def wants_sockets() -> bool:
            return policies.policy.upstream_stream_transport == "websocket"

        turns = Turns(
            leases,
            upstream,
            sockets,
            clock,
            limits_of(settings),
            TurnMetrics(metrics),
            wants_sockets=wants_sockets,
        )
        measure(metrics, turns, leases)
        if fetch_images is None:
            fetch_images = fetch_public_images if settings.image_inline_fetch_enabled else fetch_nothing
        bytes_max = settings.max_decompressed_responses_body_bytes
        answers = MemoryAnswers()
        native = Responses(turns, gate, clock, Dialect.NATIVE, fetch_images, answers, body_bytes_max=bytes_max)
        public = Responses(turns, gate, clock, Dialect.PUBLIC, fetch_images, answers, body_bytes_max=bytes_max)
        chat = Chat(turns, gate, clock, fetch_images, body_bytes_max=settings.max_decompressed_body_bytes)
        native_ws, public_ws = (
            ResponsesSocket(
                turns,
                sockets,
                gate,
                clock,
                dialect,
                is_offered=offers_websockets,
                event_bytes_max=settings.max_sse_event_bytes,
            )
            for dialect in (Dialect.NATIVE, Dialect.PUBLIC)
        )
        forwards = Forwards(leases, upstream, clock, lease_wait_s=settings.lease_wait_seconds)
        kinds = forwarded_kinds(MemoryOwners(), body_bytes_max=settings.max_decompressed_body_bytes)
        forwarded = {path: Forwarding(kind, forwards, gate, clock) for path, kind in kinds.items()}
        posted: dict[str, Endpoint] = {
            "/backend-api/codex/responses/compact": Compact(
                turns, gate, clock, Dialect.NATIVE, fetch_images, body_bytes_max=bytes_max
            ),
            "/v1/responses/compact": Compact(
                turns, gate, clock, Dialect.PUBLIC, fetch_images, body_bytes_max=bytes_max
            ),
            **image_endpoints(turns, gate, clock, settings),
        }
        pool_usage = PoolUsage(gate, clock)
        context_windows = settings.model_context_window_overrides
        health = health_of(leases, policies)
        routes = [
            Route("/backend-api/codex/responses", native, methods=["POST"]),
            Route("/backend-api/codex/responses/", native, methods=["POST"]),
            WebSocketRoute("/backend-api/codex/responses", native_ws),
            WebSocketRoute("/v1/responses", public_ws),
            Route("/v1/responses", public, methods=["POST"]),
            Route("/v1/responses/", public, methods=["POST"]),
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/chat/completions/", chat, methods=["POST"]),
            Route("/v1/models", Models(gate, clock, context_windows, is_codex=False), methods=["GET"]),
            Route("/backend-api/codex/models", Models(gate, clock, context_windows, is_codex=True), methods=["GET"]),
            Route("/backend-api/wham/usage", pool_usage, methods=["GET"]),
            Route("/api/codex/usage", pool_usage, methods=["GET"]),
            Route("/api/codex/usage/", pool_usage, methods=["GET"]),
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posted.items()),
            Route("/v1/images/variations", Variations(gate), methods=["POST"]),
            *(Route(path, endpoint, methods=list(kinds[path].methods)) for path, endpoint in forwarded.items()),
            *health_routes(health),
        ]

        def drain() -> None:
            native.is_draining = public.is_draining = chat.is_draining = True
            endpoints: list[Endpoint] = [*forwarded.values(), *posted.values()]
            for endpoint in endpoints:
                endpoint.is_draining = True
            native_ws.drain()
            public_ws.drain()
            health.draining()

        app = aliased(
            Starlette(routes=routes, exception_handlers={404: unknown_path, 405: wrong_method, 500: unforeseen})
        )
        yield Gateway(app, health, turns, leases, policies, metrics, drain)
        tasks.cancel_scope.cancel()


def nothing() -> None:
    """Nobody waits for the metrics to be served."""


def measure(metrics: MetricsRegistry, turns: Turns, leases: LeaseClient) -> None:
    """Shows what is in memory."""
    metrics.gauge("turns_running", "Turns running now.").set_function(lambda: turns.running)
    metrics.gauge("gateway_leases_held", "Leases this gateway holds.").set_function(lambda: leases.held)
    metrics.gauge("gateway_settlements_waiting", "Settlements control has not acknowledged.").set_function(
        lambda: leases.unsettled
    )


def forwarded_kinds(owners: Owners, *, body_bytes_max: int) -> dict[str, Kind]:
    """The endpoints that forward one small call, by path."""
    return {
        **{path: CodexControl(path, owners, body_bytes_max=body_bytes_max) for path in CODEX_CONTROL},
        "/v1/audio/transcriptions": Transcription(names_model=True),
        "/backend-api/transcribe": Transcription(names_model=False),
        "/backend-api/files": FileCreation(owners),
        "/backend-api/files/{file_id}/uploaded": FileFinalisation(owners),
    }


def image_endpoints(turns: Turns, gate: Gate, clock: Clock, settings: GatewaySettings) -> dict[str, Endpoint]:
    """The Images API, by path."""
    routes = {
        "/v1/images/generations": ImageRoute.GENERATION,
        "/v1/images/edits": ImageRoute.EDIT_FORM,
        "/backend-api/codex/images/generations": ImageRoute.GENERATION,
        "/backend-api/codex/images/edits": ImageRoute.EDIT_JSON,
    }
    model, bytes_max = settings.images_default_model, settings.max_decompressed_body_bytes
    return {
        path: Images(turns, gate, clock, route, default_model=model, body_bytes_max=bytes_max)
        for path, route in routes.items()
    }


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


def aliased(app: ASGIApp) -> ASGIApp:
    """The app with `/backend-api/codex/v1/<rest>` meaning `/backend-api/codex/<rest>`."""

    async def rewrite(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"].startswith(ALIAS):
            path = CODEX + scope["path"][len(ALIAS) :]
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    return rewrite


async def unknown_path(request: Request, _error: Exception) -> Response:
    """404 in the clients' shape."""
    return error_response(NotFoundError(f"There is nothing at {request.url.path}"))


async def wrong_method(request: Request, _error: Exception) -> Response:
    """405 in the clients' shape."""
    return error_response(MethodNotAllowedError(f"{request.method} is not allowed here"))


async def unforeseen(_request: Request, _error: Exception) -> Response:
    """500 in the clients' shape; the server has logged what it was."""
    return error_response(GatewayError("Internal server error"))


def error_response(error: GatewayError) -> Response:
    """An error where no endpoint took the request."""
    return Response(envelope(error), status_code=error.status, media_type="application/json")


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

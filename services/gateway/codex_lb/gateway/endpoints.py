"""Every address of a gateway, and what answers there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from codex_lb.gateway.continuity.answers import MemoryAnswers
from codex_lb.gateway.continuity.owners import MemoryOwners, Owners
from codex_lb.gateway.errors import GatewayError, MethodNotAllowedError, NotFoundError, envelope
from codex_lb.gateway.ingress.images import FetchImages
from codex_lb.gateway.leasing.key_usage import KeyUsages
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
from codex_lb.gateway.routes.own_usage import OwnUsage
from codex_lb.gateway.routes.pool_usage import PoolUsage
from codex_lb.gateway.routes.responses import Responses
from codex_lb.gateway.routes.responses_ws import ResponsesSocket
from codex_lb.gateway.routes.transcribe import Transcription
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.gateway.turn.delivery import Dialect
from codex_lb.gateway.turn.forward import Forwards
from codex_lb.gateway.turn.turn import Turns
from codex_lb.gateway.upstream.websocket import UpstreamSockets
from codex_lb.kit.clock import Clock
from codex_lb.kit.health import Health, health_routes

ALIAS = "/backend-api/codex/v1/"  # some clients append /v1 to any base URL (data-plane reference 1.3)
CODEX = "/backend-api/codex/"
log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What endpoints are made of."""

    turns: Turns
    forwards: Forwards
    sockets: UpstreamSockets
    gate: Gate
    policies: PolicyClient
    fetch_images: FetchImages
    usages: KeyUsages
    clock: Clock
    settings: GatewaySettings


class Endpoint(Protocol):
    """An endpoint that can be told to take nothing new."""

    is_draining: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def make_app(parts: Parts, health: Health) -> tuple[ASGIApp, Callable[[], None]]:
    """All that is served, and how to tell it to take nothing new."""
    kinds = forwarded_kinds(MemoryOwners(), body_bytes_max=parts.settings.max_decompressed_body_bytes)
    forwarded = {path: Forwarding(kind, parts.forwards, parts.gate, parts.clock) for path, kind in kinds.items()}
    posted = {**turn_endpoints(parts), **image_endpoints(parts)}
    sockets = socket_endpoints(parts)
    routes = [
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in posted.items()),
        *(WebSocketRoute(path, endpoint) for path, endpoint in sockets.items()),
        *(Route(path, endpoint, methods=list(kinds[path].methods)) for path, endpoint in forwarded.items()),
        *told_at_once(parts),
        *health_routes(health),
    ]

    def drain() -> None:
        endpoints: list[Endpoint] = [*forwarded.values(), *posted.values()]
        for endpoint in endpoints:
            endpoint.is_draining = True
        for socket in sockets.values():
            socket.drain()
        health.draining()

    answers = {404: unknown_path, 405: wrong_method, 500: unforeseen}
    app = Starlette(routes=routes, exception_handlers=answers)
    return aliased(straight(posted, app)), drain


def turn_endpoints(parts: Parts) -> dict[str, Endpoint]:
    """Where turns are posted, by path."""
    turns, gate, clock, fetch_images = parts.turns, parts.gate, parts.clock, parts.fetch_images
    bytes_max = parts.settings.max_decompressed_responses_body_bytes
    answers = MemoryAnswers()
    native = Responses(turns, gate, clock, Dialect.NATIVE, fetch_images, answers, body_bytes_max=bytes_max)
    public = Responses(turns, gate, clock, Dialect.PUBLIC, fetch_images, answers, body_bytes_max=bytes_max)
    native_compact = Compact(turns, gate, clock, Dialect.NATIVE, fetch_images, body_bytes_max=bytes_max)
    public_compact = Compact(turns, gate, clock, Dialect.PUBLIC, fetch_images, body_bytes_max=bytes_max)
    chat = Chat(turns, gate, clock, fetch_images, body_bytes_max=parts.settings.max_decompressed_body_bytes)
    return {
        "/backend-api/codex/responses": native,
        "/backend-api/codex/responses/": native,
        "/backend-api/codex/responses/compact": native_compact,
        "/v1/responses": public,
        "/v1/responses/": public,
        "/v1/responses/compact": public_compact,
        "/v1/chat/completions": chat,
        "/v1/chat/completions/": chat,
    }


def socket_endpoints(parts: Parts) -> dict[str, ResponsesSocket]:
    """Where turns come over a WebSocket, by path."""

    def is_offered() -> bool:
        return parts.policies.policy.upstream_stream_transport != "http"

    bytes_max = parts.settings.max_sse_event_bytes
    dialects = {"/backend-api/codex/responses": Dialect.NATIVE, "/v1/responses": Dialect.PUBLIC}
    return {
        path: ResponsesSocket(
            parts.turns,
            parts.sockets,
            parts.gate,
            parts.clock,
            dialect,
            is_offered=is_offered,
            event_bytes_max=bytes_max,
        )
        for path, dialect in dialects.items()
    }


def image_endpoints(parts: Parts) -> dict[str, Endpoint]:
    """The Images API, by path."""
    routes = {
        "/v1/images/generations": ImageRoute.GENERATION,
        "/v1/images/edits": ImageRoute.EDIT_FORM,
        "/backend-api/codex/images/generations": ImageRoute.GENERATION,
        "/backend-api/codex/images/edits": ImageRoute.EDIT_JSON,
    }
    model, bytes_max = parts.settings.images_default_model, parts.settings.max_decompressed_body_bytes
    return {
        path: Images(parts.turns, parts.gate, parts.clock, route, default_model=model, body_bytes_max=bytes_max)
        for path, route in routes.items()
    }


def forwarded_kinds(owners: Owners, *, body_bytes_max: int) -> dict[str, Kind]:
    """The endpoints that forward one small call, by path."""
    return {
        **{path: CodexControl(path, owners, body_bytes_max=body_bytes_max) for path in CODEX_CONTROL},
        "/v1/audio/transcriptions": Transcription(names_model=True),
        "/backend-api/transcribe": Transcription(names_model=False),
        "/backend-api/files": FileCreation(owners),
        "/backend-api/files/{file_id}/uploaded": FileFinalisation(owners),
    }


def told_at_once(parts: Parts) -> Sequence[BaseRoute]:
    """What the gateway answers from what it knows, without a turn."""
    gate, clock, context_windows = parts.gate, parts.clock, parts.settings.model_context_window_overrides
    pool_usage, own_usage = PoolUsage(gate, parts.usages), OwnUsage(gate, parts.usages)
    return [
        Route("/v1/models", Models(gate, clock, context_windows, is_codex=False), methods=["GET"]),
        Route("/backend-api/codex/models", Models(gate, clock, context_windows, is_codex=True), methods=["GET"]),
        Route("/v1/usage", own_usage, methods=["GET"]),
        Route("/backend-api/wham/usage", pool_usage, methods=["GET"]),
        Route("/api/codex/usage", pool_usage, methods=["GET"]),
        Route("/api/codex/usage/", pool_usage, methods=["GET"]),
        Route("/v1/images/variations", Variations(gate), methods=["POST"]),
    ]


def straight(posted: Mapping[str, ASGIApp], app: ASGIApp) -> ASGIApp:
    """The app, where what is posted to a known path goes straight to its endpoint.

    A turn passes through six layers of Starlette otherwise, which have nothing to do for it.
    """

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = posted.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if endpoint is None:
            return await app(scope, receive, send)
        try:
            await endpoint(scope, receive, send)
        except Exception:
            log.exception("a request failed unforeseen", path=scope["path"])
            with suppress(RuntimeError):  # an answer has begun: the server cuts it off
                await error_response(GatewayError("Internal server error"))(scope, receive, send)
        return None

    return dispatch


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

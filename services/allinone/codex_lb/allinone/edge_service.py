"""The gateway with everything else that answers on the one port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from socket import socket
from typing import Protocol

import anyio
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from codex_lb.allinone.banner import Serving
from codex_lb.allinone.data_dir import WEB_SOCKET_FILE, socket_path
from codex_lb.allinone.edge import Edge, Part
from codex_lb.gateway.app import Gateway, open_gateway
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.kit.clock import Clock
from codex_lb.kit.health import OK, Health, health_routes
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.on_demand import on_demand
from codex_lb.kit.service import Stop

ATTACH_WITHIN_S = 5.0  # control has started by then; a gateway that still hears nothing had better say so in its health


class Speaks(Protocol):
    """Who is told how it goes."""

    def serving(self, serving: Serving) -> None:
        """Everything is up."""
        ...

    def draining(self, turns: int, *, within_s: float) -> None:
        """The stop has been heard."""
        ...


class EdgeService:
    """The gateway, and everything else that answers on the one port."""

    name = "gateway"

    def __init__(
        self, settings: GatewaySettings, clock: Clock, bound: socket, health: Health, voice: Speaks, data_dir: Path
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._bound = bound
        self._health = health
        self._voice = voice
        self._data_dir = data_dir

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Serves until told to stop, then lets running turns finish."""
        drain_s = self._settings.shutdown_drain_timeout_seconds
        host, port = self._bound.getsockname()[:2]
        async with (
            open_gateway(self._settings, self._clock) as gateway,
            way_to_control(socket_path(self._data_dir, WEB_SOCKET_FILE)) as to_control,
        ):
            gateway.health.started()
            self._health.add("gateway", partial(trouble_of, gateway.health))
            server = HttpServer(
                edge_of(gateway, to_control, self._health),
                self._bound,
                name=self.name,
                drain_s=drain_s,
                websockets=True,
            )

            def serving() -> None:
                self._health.started()
                policy = gateway.policies.policy
                told = Serving(host, port, self._data_dir, policy.accounts, policy.api_key_auth_enabled)
                self._voice.serving(told)
                ready()

            async def drain_on_stop() -> None:
                await stop.wait()
                self._voice.draining(gateway.turns.running, within_s=drain_s)
                gateway.drain()

            await attached(gateway, stop)
            draining = asyncio.create_task(drain_on_stop())
            try:
                await server.run(stop, serving)
            finally:
                draining.cancel()


@asynccontextmanager
async def way_to_control(socket: Path) -> AsyncIterator[ASGIApp]:
    """Loaded for the first request that is for control."""

    def load() -> AbstractAsyncContextManager[ASGIApp]:
        from codex_lb.allinone.to_control import open_way_to_control

        return open_way_to_control(socket)

    async with on_demand(load) as get:

        async def to_control(scope: Scope, receive: Receive, send: Send) -> None:
            await (await get())(scope, receive, send)

        yield to_control


async def attached(gateway: Gateway, stop: Stop) -> None:
    """Returns when the gateway knows control and its policy, so that the first request finds it ready; bounded."""
    is_attached = asyncio.Event()
    gateway.leases.on_attached = is_attached.set
    if gateway.leases.is_attached:
        is_attached.set()
    with anyio.move_on_after(ATTACH_WITHIN_S):
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(_cancel_on, stop, waiting.cancel_scope)
            await is_attached.wait()
            await gateway.policies.arrived.wait()
            waiting.cancel_scope.cancel()


async def _cancel_on(stop: Stop, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


def edge_of(gateway: Gateway, to_control: ASGIApp, health: Health) -> Edge:
    """The path table with everybody in place. Control has the pages too."""
    return Edge({
        Part.GATEWAY: gateway.app,
        Part.CONTROL: to_control,
        Part.HEALTH: Starlette(routes=health_routes(health)),
        Part.UI: to_control,
    })  # fmt: skip


def trouble_of(health: Health) -> str | None:
    """Everything that another health has to complain about, as one check."""
    return "; ".join(state for state in health.states().values() if state != OK) or None

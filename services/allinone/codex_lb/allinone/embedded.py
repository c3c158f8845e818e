"""The three services in one process for one user: one port, one folder, one stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from socket import socket

import anyio
from starlette.applications import Starlette

from codex_lb.allinone.banner import Serving, Voice
from codex_lb.allinone.data_dir import claimed, open_socket_folder, socket_path
from codex_lb.allinone.edge import Edge, Part
from codex_lb.allinone.placeholders import Glance, no_admin_api, placeholder_page
from codex_lb.allinone.settings import AllInOneSettings
from codex_lb.control.app import ControlService
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.settings import ControlSettings
from codex_lb.gateway.app import Gateway, open_gateway
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.gateway.upstream.headers import VERSION
from codex_lb.kit.clock import Clock, SystemClock
from codex_lb.kit.health import OK, Health, health_routes
from codex_lb.kit.http_server import HttpServer, bind_tcp
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.service import Service, Stop, run_all
from codex_lb.kit.settings import load
from codex_lb.usage_worker.app import WorkerService
from codex_lb.usage_worker.settings import WorkerSettings

ATTACH_WITHIN_S = 5.0  # control has started by then; a gateway that still hears nothing had better say so in its health
END_WITHIN_S = 15.0  # beyond a service's own drain: its last settlements, its connections


async def serve(settings: AllInOneSettings, stop: Stop, voice: Voice) -> None:
    """Serves until `stop` is set, then drains: the gateway first, the worker, control last.

    Raises what failures.py has a sentence for when it cannot start.
    """
    data_dir = settings.data_dir.expanduser().absolute()
    target = f"unix:{socket_path(data_dir)}"
    of_control = load(ControlSettings).model_copy(update={"data_dir": data_dir})
    of_gateway = load(GatewaySettings).model_copy(update={"data_dir": data_dir, "control_target": target})
    of_worker = load(WorkerSettings).model_copy(update={"control_target": target})
    clock, health, metrics = SystemClock(), Health(), MetricsRegistry()
    with (
        closing(
            bind_tcp(settings.host, settings.port)
        ) as bound,  # before anything is written: most often it fails here
        claimed(data_dir),
        open_socket_folder(data_dir),
    ):
        services: list[Service] = [
            ControlService(
                of_control,
                clock,
                listen=listen_addresses(of_control, target),
                timing=Timing(reannounce_grace_s=0.0),  # the only gateway starts with it and holds nothing
                health=health,
                metrics=metrics,
            ),
            WorkerService(of_worker, clock, health=health),
            EdgeService(of_gateway, clock, bound, health, voice, data_dir),
        ]
        if of_control.metrics_enabled:
            address = (of_control.metrics_host, of_control.metrics_port)
            services.insert(0, HttpServer(metrics_app(metrics), address, name="metrics"))
        await run_all(services, stop, drain_s=of_gateway.shutdown_drain_timeout_seconds + END_WITHIN_S)


def listen_addresses(settings: ControlSettings, target: str) -> tuple[str, ...]:
    """The data folder's socket; TCP too where somebody asked for it, so that the pool can be run from afar."""
    asked_for = settings.control_listen if "control_listen" in settings.model_fields_set else ()
    return (target, *asked_for)


class EdgeService:
    """The gateway, and everything else that answers on the one port."""

    name = "gateway"

    def __init__(
        self, settings: GatewaySettings, clock: Clock, bound: socket, health: Health, voice: Voice, data_dir: Path
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
        async with open_gateway(self._settings, self._clock) as gateway:
            gateway.health.started()
            self._health.add("gateway", partial(trouble_of, gateway.health))
            server = HttpServer(
                edge_of(gateway, self._health), self._bound, name=self.name, drain_s=drain_s, websockets=True
            )

            def serving() -> None:
                self._health.started()
                self._voice.serving(Serving(host, port, self._data_dir, gateway.policies.policy.accounts))
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


def edge_of(gateway: Gateway, health: Health) -> Edge:
    """The path table with everybody in place."""
    return Edge({
        Part.GATEWAY: gateway.app,
        Part.CONTROL: no_admin_api,
        Part.HEALTH: Starlette(routes=health_routes(health)),
        Part.UI: placeholder_page(partial(glance_at, gateway)),
    })  # fmt: skip


def glance_at(gateway: Gateway) -> Glance:
    """What the page shows of the pool, from memory."""
    policy = gateway.policies.policy
    return Glance(
        version=VERSION,
        accounts=policy.accounts,
        ready_accounts=policy.ready_accounts,
        models=tuple(model.slug for model in policy.models),
        turns_running=gateway.turns.running,
    )


def trouble_of(health: Health) -> str | None:
    """Everything that another health has to complain about, as one check."""
    return "; ".join(state for state in health.states().values() if state != OK) or None

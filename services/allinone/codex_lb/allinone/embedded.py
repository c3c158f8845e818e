"""The three services for one user: one port, one folder, one stop; in one process, or with gateways beside it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from socket import socket

from codex_lb.allinone.banner import Serving
from codex_lb.allinone.beside import Announcement, Gateways
from codex_lb.allinone.data_dir import WEB_SOCKET_FILE, claimed, open_socket_folder, socket_path
from codex_lb.allinone.edge_service import EdgeService, Speaks
from codex_lb.allinone.settings import AllInOneSettings
from codex_lb.control.app import Control, ControlService
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.settings import ControlSettings
from codex_lb.control.web.door import Door
from codex_lb.gateway.settings import GatewaySettings
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.health import Health
from codex_lb.kit.http_server import HttpServer, bind_tcp
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.service import Service, Stop, run_all
from codex_lb.kit.settings import load
from codex_lb.kit.sockets import bind_unix, url_of
from codex_lb.usage_worker.app import WorkerService
from codex_lb.usage_worker.settings import WorkerSettings

END_WITHIN_S = 30.0  # beyond a service's own drain: its last settlements, its connections


async def serve(settings: AllInOneSettings, stop: Stop, voice: Speaks) -> None:
    """Serves until `stop` is set, then drains: the gateways first, the worker, control last.

    Raises what failures.py has a sentence for when it cannot start.
    """
    data_dir = settings.data_dir.expanduser().absolute()
    target = f"unix:{socket_path(data_dir)}"
    of_control = load(ControlSettings).model_copy(update={"data_dir": data_dir})
    of_gateway = load(GatewaySettings).model_copy(update={"data_dir": data_dir, "control_target": target})
    of_worker = load(WorkerSettings).model_copy(update={"control_target": target})
    clock, health, metrics, door = SystemClock(), Health(), MetricsRegistry(), Door()
    inviting = Inviting(voice)
    with ExitStack() as stack:
        # Before anything is written: most often it fails here.
        bound = [stack.enter_context(closing(one)) for one in bound_sockets(settings)]
        stack.enter_context(claimed(data_dir))
        stack.enter_context(open_socket_folder(data_dir))
        services: list[Service] = [
            ControlService(
                of_control,
                clock,
                listen=listen_addresses(of_control, target),
                timing=Timing(reannounce_grace_s=0.0),  # its gateways start with it and hold nothing
                health=health,
                metrics=metrics,
                door=door,
                web_url=url_of(*bound[0].getsockname()[:2]),
                on_open=inviting.opened,
            ),
            HttpServer(door, bind_unix(socket_path(data_dir, WEB_SOCKET_FILE)), name="control-http"),
            WorkerService(of_worker, clock, health=health),
            gateway_service(of_gateway, bound, health, inviting, data_dir),
        ]
        if of_control.metrics_enabled:
            address = (of_control.metrics_host, of_control.metrics_port)
            services.insert(0, HttpServer(metrics_app(metrics), address, name="metrics"))
        await run_all(services, stop, drain_s=of_gateway.shutdown_drain_timeout_seconds + END_WITHIN_S)


class Inviting:
    """A voice that also says how somebody on another machine gets in."""

    def __init__(self, voice: Speaks) -> None:
        self._voice = voice
        self._sign_in_link: str | None = None

    def opened(self, control: Control) -> None:
        """Control has made the link, or found the one that an earlier start made."""
        self._sign_in_link = control.sign_in_link

    def serving(self, serving: Serving) -> None:
        """Everything is up."""
        self._voice.serving(replace(serving, sign_in_link=self._sign_in_link))

    def draining(self, turns: int, *, within_s: float) -> None:
        """The stop has been heard."""
        self._voice.draining(turns, within_s=within_s)


def bound_sockets(settings: AllInOneSettings) -> list[socket]:
    """The port, as often as there are gateways. Raises PortTakenError."""
    if settings.gateways == 1:
        return [bind_tcp(settings.host, settings.port)]
    with closing(bind_tcp(settings.host, settings.port)) as alone:  # another program's port must not be shared
        port = alone.getsockname()[1]
    return [bind_tcp(settings.host, port, reuse_port=True) for _ in range(settings.gateways)]


def gateway_service(
    settings: GatewaySettings, bound: Sequence[socket], health: Health, voice: Speaks, data_dir: Path
) -> Service:
    """One gateway in this process; several in processes of their own, so that control has this one to itself."""
    if len(bound) == 1:
        return EdgeService(settings, SystemClock(), bound[0], health, voice, data_dir)
    host, port = bound[0].getsockname()[:2]

    def serving(announcement: Announcement) -> None:
        health.started()
        voice.serving(Serving(host, port, data_dir, announcement.accounts, announcement.asks_for_keys))

    return Gateways(bound, data_dir, serving)


def listen_addresses(settings: ControlSettings, target: str) -> tuple[str, ...]:
    """The data folder's socket; TCP too where somebody asked for it, so that the pool can be run from afar."""
    asked_for = settings.control_listen if "control_listen" in settings.model_fields_set else ()
    return (target, *asked_for)

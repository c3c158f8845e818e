"""The usage-worker put together: everything it uses, made top to bottom and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
import httpx
from starlette.applications import Starlette

from codex_lb.kit.clock import Clock
from codex_lb.kit.health import Health, health_routes
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.ids import new_id
from codex_lb.kit.rpc_channel import open_channel
from codex_lb.kit.service import Service, Stop
from codex_lb.usage_worker.alerts import AlertSender
from codex_lb.usage_worker.loop import DRAIN_WITHIN_S, RUNNING_MAX, Loop
from codex_lb.usage_worker.models import ModelLister
from codex_lb.usage_worker.probe import Prober
from codex_lb.usage_worker.settings import WorkerSettings
from codex_lb.usage_worker.tickets import Tickets
from codex_lb.usage_worker.tokens import TokenIssuer
from codex_lb.usage_worker.usage import UsageFetcher
from codex_lb.usage_worker.work import TicketKind

USER_AGENT = f"codex-lb/{version('codex-lb')}"  # we say who we are


@asynccontextmanager
async def open_worker(
    settings: WorkerSettings,
    clock: Clock,
    *,
    drain_within_s: float = DRAIN_WITHIN_S,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> AsyncIterator[Loop]:
    """A loop ready to run, and what it stands on for as long as the `with` lasts."""
    service_token = settings.service_token.get_secret_value() if settings.service_token else None
    async with (
        open_channel(
            settings.control_target, tls_ca_file=settings.control_tls_ca_file, service_token=service_token
        ) as channel,
        open_http() as http,
    ):
        yield Loop(
            Tickets(channel, clock, worker_id=new_id("worker")),
            UsageFetcher(
                http,
                clock,
                upstream_base_url=settings.upstream_base_url,
                timeout_s=settings.usage_fetch_timeout_seconds,
                retries_max=settings.usage_fetch_max_retries,
                sleep=sleep,
            ),
            ModelLister(
                http,
                upstream_base_url=settings.upstream_base_url,
                client_version=settings.model_registry_client_version,
            ),
            TokenIssuer(
                http,
                clock,
                auth_base_url=settings.auth_base_url,
                client_id=settings.oauth_client_id,
                timeout_s=settings.token_refresh_timeout_seconds,
            ),
            Prober(http, clock, upstream_base_url=settings.upstream_base_url),
            AlertSender(http),
            clock,
            kinds=kinds_wanted(settings),
            drain_within_s=drain_within_s,
            sleep=sleep,
        )


class WorkerService:
    """The usage-worker as a service of the process; it tells `health`, if given one, when its loop stands still."""

    name = "usage-worker"

    def __init__(self, settings: WorkerSettings, clock: Clock, *, health: Health | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._health = health

    async def run(self, stop: Stop, ready: Callable[[], None]) -> None:
        """Works until `stop` is set, then drains. Ready at once: the worker waits for control by itself."""
        async with open_worker(self._settings, self._clock) as loop:
            if self._health is not None:
                self._health.add(self.name, loop.trouble, is_vital=True)
            ready()
            await loop.run(stop)


def services_of(settings: WorkerSettings, clock: Clock, health: Health) -> list[Service]:
    """The usage-worker on its own: with the probes' port."""
    probes = HttpServer(Starlette(routes=health_routes(health)), settings.http_address, name="usage-worker-http")
    return [probes, WorkerService(settings, clock, health=health)]


def open_http() -> httpx.AsyncClient:
    """The one client of the process. Its requests are bounded by whoever sends them, so it sets no timeouts itself."""
    return httpx.AsyncClient(
        headers={"user-agent": USER_AGENT},
        timeout=None,  # noqa: S113 - upstream.exchange bounds every exchange as a whole
        limits=httpx.Limits(max_connections=RUNNING_MAX, max_keepalive_connections=RUNNING_MAX),
    )


def kinds_wanted(settings: WorkerSettings) -> tuple[TicketKind, ...]:
    """What this worker asks control for. Rotation cannot be switched off: without it every login ends. Probes are
    sent only when an operator asks, alerts only where an operator set up to whom.
    """
    wanted = {
        TicketKind.ROTATION: True,
        TicketKind.PROBE: True,
        TicketKind.ALERT: True,
        TicketKind.USAGE: settings.usage_refresh_enabled,
        TicketKind.MODELS: settings.model_registry_enabled,
    }
    return tuple(kind for kind, is_wanted in wanted.items() if is_wanted)

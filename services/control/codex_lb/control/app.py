"""Control put together: everything it uses, made top to bottom and closed in reverse."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import anyio
import structlog
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from codex_lb.control.assembly.admin_side import AdminSide, open_admin_side
from codex_lb.control.assembly.gateway_side import GatewaySide, make_gateway_side
from codex_lb.control.assembly.state import State, open_state
from codex_lb.control.assembly.timing import ORDINARY, Timing
from codex_lb.control.assembly.watch import DatabaseWatch, keep_time, measure
from codex_lb.control.assembly.web_side import make_web, make_web_access, make_web_access_face, sign_in_link_of
from codex_lb.control.assembly.worker_side import WorkerSide, make_worker_side
from codex_lb.control.errors import MigrationError
from codex_lb.control.settings import ControlSettings
from codex_lb.control.store.migrate import migrate, needs_migration
from codex_lb.control.usecases.follow_others import FollowOthers
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.ports import Store
from codex_lb.control.web.door import Door
from codex_lb.kit.clock import Clock
from codex_lb.kit.health import Health, health_routes
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.rpc_server import TlsFiles, open_rpc_server
from codex_lb.kit.service import Service, Stop

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Control:
    """A control that serves."""

    targets: tuple[str, ...]  # what clients dial, in the order of `listen`
    term: int
    store: Store
    leases: Leases
    watch: DatabaseWatch
    web: ASGIApp
    sign_in_link: str | None  # for the first visit; None: with the token that the environment fixes


@asynccontextmanager
async def open_control(
    settings: ControlSettings,
    clock: Clock,
    *,
    listen: Sequence[str],
    timing: Timing = ORDINARY,
    metrics: MetricsRegistry | None = None,
    web_url: str | None = None,
) -> AsyncIterator[Control]:
    """Serves inside the `with`. `web_url` is where browsers find what `web` answers, unless the settings say it.

    Raises ControlError, with a sentence for the operator, when it cannot start: the database is away or of another
    version, or the key is not the one its logins were sealed with. A database that goes away later is waited for.
    """
    await prepare_schema(settings, clock)
    with raised_plainly():
        async with open_state(settings, clock, timing) as state:
            gateway_side = make_gateway_side(state, clock, timing)
            worker_side = await make_worker_side(state, settings, clock)
            access = make_web_access(state, settings, clock)
            web_access = make_web_access_face(access, settings, web_url)
            async with open_admin_side(
                state, gateway_side, worker_side, settings, clock, timing, web_access=web_access
            ) as admin_side:
                if metrics is not None:
                    measure(metrics, state, gateway_side.settle, clock)
                async with (
                    open_rpc_server(
                        [*gateway_side.faces, *worker_side.faces, *(face.register for face in admin_side.faces)],
                        listen,
                        tls=tls_of(settings),
                        service_token=settings.service_token.get_secret_value() if settings.service_token else None,
                        reflection=True,
                    ) as server,
                    keep_going(state, gateway_side, worker_side, admin_side, timing) as watch,
                ):
                    log.info(
                        "control serves", targets=server.targets, term=state.term, accounts=len(state.pool.members())
                    )
                    yield Control(
                        targets=server.targets,
                        term=state.term,
                        store=state.store,
                        leases=state.leases,
                        watch=watch,
                        web=make_web(state, admin_side.faces, access, settings, clock),
                        sign_in_link=await sign_in_link_of(access, settings, web_url),
                    )


@asynccontextmanager
async def keep_going(
    state: State, gateway_side: GatewaySide, worker_side: WorkerSide, admin_side: AdminSide, timing: Timing
) -> AsyncIterator[DatabaseWatch]:
    """What control does without being asked. Ends before the server stops: it waits for the gateways' streams."""
    watch = DatabaseWatch(state.store)
    follow = make_following(state, worker_side)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway_side.acquire.run)
        tasks.start_soon(keep_time, gateway_side.settle, state.feed, timing.tick_s)
        tasks.start_soon(watch.run)
        if follow is not None:
            tasks.start_soon(follow.run)
        tasks.start_soon(admin_side.flow_keeper.run, timing.tick_s)
        tasks.start_soon(admin_side.rotate_keys.run)
        tasks.start_soon(admin_side.watch_alerts.run, timing.alert_period_s)
        tasks.start_soon(admin_side.drop_old_turns.run, timing.retention_period_s)
        try:
            yield watch
        finally:
            gateway_side.drain()
            tasks.cancel_scope.cancel()


def make_following(state: State, worker_side: WorkerSide) -> FollowOthers | None:
    """What keeps this control true to others, where there are any."""
    events, told = state.sharing.events, state.sharing.told
    if events is None or told is None:
        return None
    return FollowOthers(
        events,
        state.pool,
        state.book,
        state.key_book,
        state.adopt_keys,
        state.limits,
        state.feed,
        worker_side.rotations,
        told,
        state.store,
    )


def unheard(_control: Control) -> None:
    """Nobody waits for control to open."""


class ControlService:
    """Control as a service of a process; `health`, `metrics` and `door`, which its web face stands behind, are the
    process's.
    """

    name = "control"

    def __init__(
        self,
        settings: ControlSettings,
        clock: Clock,
        *,
        listen: Sequence[str] | None = None,
        timing: Timing = ORDINARY,
        health: Health | None = None,
        metrics: MetricsRegistry | None = None,
        door: Door | None = None,
        web_url: str | None = None,
        on_open: Callable[[Control], None] = unheard,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._listen = settings.control_listen if listen is None else listen
        self._timing = timing
        self._health = health
        self._metrics = metrics
        self._door = door or Door()
        self._web_url = web_url
        self._on_open = on_open

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Serves until `stop` is set, then ends its streams and commits what it was handed."""
        async with open_control(
            self._settings,
            self._clock,
            listen=self._listen,
            timing=self._timing,
            metrics=self._metrics,
            web_url=self._web_url,
        ) as control:
            self._on_open(control)
            if self._health is not None:
                self._health.add("database", control.watch.trouble)
            self._door.open(control.web)
            ready()
            await stop.wait()
            self._door.close()
            if self._health is not None:
                self._health.draining()


def services_of(
    settings: ControlSettings, clock: Clock, health: Health, *, on_open: Callable[[Control], None] = unheard
) -> list[Service]:
    """Control on its own: with the port of probes and people and, when enabled, the metrics'."""
    metrics, door = MetricsRegistry(), Door()
    app = Starlette(routes=[*health_routes(health), Mount("/", door)])
    services: list[Service] = [HttpServer(app, settings.http_address, name="control-http")]
    if settings.metrics_enabled:
        address = (settings.metrics_host, settings.metrics_port)
        services.append(HttpServer(metrics_app(metrics), address, name="control-metrics"))
    return [*services, ControlService(settings, clock, health=health, metrics=metrics, door=door, on_open=on_open)]


async def prepare_schema(settings: ControlSettings, clock: Clock) -> None:
    """Brings the schema up to date, or makes sure that it is. Raises MigrationError or StoreUnavailableError."""
    if not settings.database_migrate_on_startup:
        if await needs_migration(settings.database):
            raise MigrationError("The database is older than this version needs. Run: codex-lb migrate")
        return
    try:
        await migrate(
            settings.database,
            backup=settings.database_sqlite_pre_migrate_backup_enabled,
            backup_files_max=settings.database_sqlite_pre_migrate_backup_max_files,
            now=clock.now(),
        )
    except MigrationError as error:
        if settings.database_migrations_fail_fast:
            raise
        log.error("migration failed; starting on the schema there is", why=str(error))  # noqa: TRY400


def tls_of(settings: ControlSettings) -> TlsFiles | None:
    """The certificate of gRPC over TCP."""
    if settings.control_tls_cert_file is None or settings.control_tls_key_file is None:
        return None
    return TlsFiles(settings.control_tls_cert_file, settings.control_tls_key_file)


@contextmanager
def raised_plainly() -> Iterator[None]:
    """Task groups wrap even the one error that the body raised; outside, that one is what people want to see."""
    try:
        yield
    except BaseExceptionGroup as group:
        only: BaseException = group
        while isinstance(only, BaseExceptionGroup) and len(only.exceptions) == 1:
            only = only.exceptions[0]
        raise only from only.__cause__

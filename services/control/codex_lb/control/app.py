"""Control put together: everything it uses, made top to bottom and closed in reverse."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version

import anyio
import structlog
from starlette.applications import Starlette

from codex_lb.api.admin.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from codex_lb.api.admin.v1.affinity_service_pb2_grpc import add_AffinityServiceServicer_to_server
from codex_lb.api.admin.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from codex_lb.api.admin.v1.oauth_service_pb2_grpc import add_OAuthServiceServicer_to_server
from codex_lb.api.admin.v1.settings_service_pb2_grpc import add_SettingsServiceServicer_to_server
from codex_lb.api.admin.v1.system_service_pb2_grpc import add_SystemServiceServicer_to_server
from codex_lb.api.control.v1.leases_pb2_grpc import add_GatewayServiceServicer_to_server
from codex_lb.api.control.v1.policy_pb2_grpc import add_PolicyServiceServicer_to_server
from codex_lb.api.worker.v1.refresh_pb2_grpc import add_RefreshServiceServicer_to_server
from codex_lb.control.admin.accounts import AccountRpc
from codex_lb.control.admin.affinities import AffinityRpc
from codex_lb.control.admin.keys import KeyRpc
from codex_lb.control.admin.oauth import OAuthRpc
from codex_lb.control.admin.settings import SettingsRpc
from codex_lb.control.admin.system import SystemRpc
from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.refresh import TICKET_TTL_S, Periods
from codex_lb.control.domain.rotation import Pace
from codex_lb.control.domain.settings import LiveSettings, Strategy, UpstreamTransport
from codex_lb.control.errors import ControlError, MigrationError, StoreUnavailableError
from codex_lb.control.oauth.auth_file import read_auth_file, write_auth_file
from codex_lb.control.oauth.callback import open_callback_port
from codex_lb.control.oauth.claims import access_expiry
from codex_lb.control.oauth.issuer import open_issuer
from codex_lb.control.oauth.keeper import FlowKeeper
from codex_lb.control.oauth.pkce import new_secret
from codex_lb.control.rpcs.leases import GatewayRpc
from codex_lb.control.rpcs.policy import PolicyRpc
from codex_lb.control.rpcs.refresh import RefreshRpc
from codex_lb.control.settings import ControlSettings
from codex_lb.control.store.batch_writer import open_ledger
from codex_lb.control.store.database import Database, DatabaseOptions, database_url, open_database
from codex_lb.control.store.migrate import migrate, needs_migration
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.affinities import ManageAffinities
from codex_lb.control.usecases.claim_tickets import ClaimTickets
from codex_lb.control.usecases.delete_account import DeleteAccount
from codex_lb.control.usecases.export_account import ExportAccount
from codex_lb.control.usecases.finish_flow import FinishFlow
from codex_lb.control.usecases.gateways import Gateways
from codex_lb.control.usecases.import_accounts import ImportAccounts
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.operate_account import OperateAccount
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Leases, Ledger, Store
from codex_lb.control.usecases.refresh_now import RefreshNow
from codex_lb.control.usecases.report_ticket import ReportTicket
from codex_lb.control.usecases.rotate_keys import RETIRED_AFTER_S, RotateKeys
from codex_lb.control.usecases.rotations import Rotations
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.control.usecases.start_flow import StartFlow
from codex_lb.control.usecases.system_status import TellStatus
from codex_lb.control.usecases.take_rotation import TakeRotation
from codex_lb.control.usecases.update_account import UpdateAccount
from codex_lb.control.usecases.view_accounts import ViewAccounts
from codex_lb.control.usecases.view_flows import ViewFlows
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.fingerprint import open_vault
from codex_lb.control.vault.key_ring import KeyRing
from codex_lb.kit.clock import Clock
from codex_lb.kit.health import Health, health_routes
from codex_lb.kit.http_server import HttpServer
from codex_lb.kit.ids import new_id
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.rpc_server import TlsFiles, open_rpc_server
from codex_lb.kit.service import Service, Stop

LEASE_TTL_S = 10.0  # how soon a dead gateway's slots return; five heartbeats may get lost before
HEARTBEAT_PERIOD_S = 2.0
REANNOUNCE_GRACE_S = 3.0  # gateways reconnect within a second; a restart should cost new turns little more
ANCHORS_RECALLED = timedelta(days=14)
TICK_S = 1.0  # how often lapsed leases are looked for and the pool's state is told
PING_EVERY_S = 5.0  # how soon readiness follows a database that went away

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Control:
    """A control that serves."""

    targets: tuple[str, ...]  # what clients dial, in the order of `listen`
    term: int
    store: Store
    leases: Leases
    watch: DatabaseWatch


@asynccontextmanager
async def open_control(
    settings: ControlSettings,
    clock: Clock,
    *,
    listen: Sequence[str],
    reannounce_grace_s: float = REANNOUNCE_GRACE_S,
    lease_ttl_s: float = LEASE_TTL_S,
    heartbeat_period_s: float = HEARTBEAT_PERIOD_S,
    ticket_ttl_s: float = TICKET_TTL_S,
    tick_s: float = TICK_S,
    key_retired_after_s: float = RETIRED_AFTER_S,
    metrics: MetricsRegistry | None = None,
) -> AsyncIterator[Control]:
    """Serves inside the `with`.

    Raises ControlError, with a sentence for the operator, when it cannot start: the database is away or of another
    version, or the key is not the one its logins were sealed with. A database that goes away later is waited for.
    `reannounce_grace_s` is how long a restarted control waits for gateways to tell what they hold before it grants.
    """
    await prepare_schema(settings, clock)
    with raised_plainly():
        async with open_database(settings.database, options_of(settings)) as store:
            vault = await open_vault(settings.key_file, store)
            term = await next_term(store)
            pool = Pool(vault)
            await pool.load(store)
            book = await SettingsBook.load(store, first_settings(settings))
            feed = PolicyFeed(pool, book, clock, history_id=new_id("policy"))
            await feed.load_catalog(store)
            leases = MemoryLeases(ttl_s=lease_ttl_s)
            continuities = MemoryContinuities(clock)
            await recall_anchors(store, continuities, clock)
            tickets = MemoryTickets(term=term, new_ticket_id=partial(new_id, "ticket"), ttl_s=ticket_ttl_s)
            gateways = Gateways(clock)
            periods = periods_of(settings)
            watch = DatabaseWatch(store)
            async with open_ledger(store) as ledger:
                acquire = AcquireLease(
                    pool,
                    leases,
                    clock,
                    term=term,
                    book=book,
                    continuities=continuities,
                    new_lease_id=partial(new_id, "lease"),
                    random=random.random,
                    # A first start has no gateways that could have anything to announce.
                    open_from=clock.monotonic() + reannounce_grace_s if term > 1 and reannounce_grace_s > 0 else 0.0,
                )
                settle = SettleLeases(pool, leases, continuities, ledger, clock)
                operate = OperateAccount(pool, store, feed, clock)
                affinities = ManageAffinities(continuities, clock)
                delete = DeleteAccount(pool, store, feed, affinities)
                import_ = ImportAccounts(
                    pool,
                    store,
                    vault,
                    tickets,
                    feed,
                    clock,
                    read_login=read_auth_file,
                    new_account_id=partial(new_id, "acc"),
                )
                rotations = Rotations(
                    pool,
                    store,
                    vault,
                    clock,
                    interval=timedelta(days=settings.token_refresh_interval_days),
                    pace=Pace(settings.token_refresh_at_once_max, settings.token_refresh_gap_seconds),
                )
                await rotations.load()
                claim = ClaimTickets(pool, tickets, rotations, clock, periods=periods)
                take_rotation = TakeRotation(
                    pool, rotations, tickets, store, ledger, vault, feed, clock, read_expiry=access_expiry
                )
                report = ReportTicket(
                    pool, tickets, store, ledger, feed, clock, periods=periods, take_rotation=take_rotation
                )
                tell = TellStatus(
                    pool,
                    leases,
                    ledger,
                    gateways,
                    settle,
                    claim,
                    clock,
                    version=version("codex-lb"),
                    database=database_url(settings.database).get_backend_name(),
                )
                gateway_rpc = GatewayRpc(
                    acquire,
                    settle,
                    leases,
                    gateways,
                    clock,
                    replica_id=new_id("control"),
                    term=term,
                    heartbeat_period_s=heartbeat_period_s,
                    lease_ttl_s=lease_ttl_s,
                )
                policy_rpc = PolicyRpc(feed)
                account_rpc = AccountRpc(
                    ViewAccounts(pool, leases, clock),
                    operate,
                    UpdateAccount(pool, store, clock),
                    RefreshNow(pool, tickets, rotations, clock),
                    import_,
                    delete,
                )
                rotate = RotateKeys(
                    pool,
                    store,
                    vault,
                    KeyRing(settings.key_file, vault),
                    clock,
                    retired_after_s=key_retired_after_s,
                )
                if metrics is not None:
                    measure(metrics, pool, leases, ledger, settle, clock)
                async with (
                    open_sign_in(settings, clock, pool, store, vault, import_) as (oauth_rpc, keeper),
                    open_rpc_server(
                        [
                            partial(add_GatewayServiceServicer_to_server, gateway_rpc),
                            partial(add_PolicyServiceServicer_to_server, policy_rpc),
                            partial(add_RefreshServiceServicer_to_server, RefreshRpc(claim, report)),
                            partial(add_AccountServiceServicer_to_server, account_rpc),
                            partial(add_SystemServiceServicer_to_server, SystemRpc(tell)),
                            partial(add_OAuthServiceServicer_to_server, oauth_rpc),
                            partial(add_KeyServiceServicer_to_server, KeyRpc(rotate)),
                            partial(add_SettingsServiceServicer_to_server, SettingsRpc(book, store)),
                            partial(add_AffinityServiceServicer_to_server, AffinityRpc(affinities)),
                        ],
                        listen,
                        tls=tls_of(settings),
                        service_token=settings.service_token.get_secret_value() if settings.service_token else None,
                        reflection=True,
                    ) as server,
                    anyio.create_task_group() as tasks,
                ):
                    tasks.start_soon(keep_time, settle, feed, tick_s)
                    tasks.start_soon(watch.run)
                    tasks.start_soon(keeper.run, tick_s)
                    tasks.start_soon(rotate.run)
                    log.info("control serves", targets=server.targets, term=term, accounts=len(pool.members()))
                    try:
                        yield Control(server.targets, term, store, leases, watch)
                    finally:
                        gateway_rpc.drain()
                        policy_rpc.drain()
                        tasks.cancel_scope.cancel()


@asynccontextmanager
async def open_sign_in(
    settings: ControlSettings, clock: Clock, pool: Pool, store: Store, vault: FernetVault, import_: ImportAccounts
) -> AsyncIterator[tuple[OAuthRpc, FlowKeeper]]:
    """The face of sign-ins, and what keeps them going."""
    address = (settings.oauth_callback_host, settings.oauth_callback_port)
    async with open_issuer(
        clock,
        base_url=settings.auth_base_url,
        client_id=settings.oauth_client_id,
        scope=settings.oauth_scope,
        redirect_uri=settings.oauth_redirect_uri,
        timeout_s=settings.oauth_timeout_seconds,
    ) as issuer:
        # A device's answer is a poll and an exchange.
        finish = FinishFlow(store, vault, issuer, import_, clock, exchange_max_s=2 * settings.oauth_timeout_seconds)
        async with open_callback_port(finish, address, redirect_uri=settings.oauth_redirect_uri) as port:
            start = StartFlow(
                pool,
                store,
                vault,
                issuer,
                port,
                clock,
                new_flow_id=partial(new_id, "flow"),
                new_secret=new_secret,
            )
            export = ExportAccount(pool, vault, write_login=write_auth_file)
            keeper = FlowKeeper(store, finish, port, clock, has_begun=start.has_begun)
            yield OAuthRpc(start, ViewFlows(store, clock), finish, export), keeper


class ControlService:
    """Control as a service of a process; `health` and `metrics` are the process's."""

    name = "control"

    def __init__(
        self,
        settings: ControlSettings,
        clock: Clock,
        *,
        listen: Sequence[str] | None = None,
        reannounce_grace_s: float = REANNOUNCE_GRACE_S,
        health: Health | None = None,
        metrics: MetricsRegistry | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._listen = settings.control_listen if listen is None else listen
        self._reannounce_grace_s = reannounce_grace_s
        self._health = health
        self._metrics = metrics

    async def run(self, stop: Stop, ready: Callable[[], None], /) -> None:
        """Serves until `stop` is set, then ends its streams and commits what it was handed."""
        async with open_control(
            self._settings,
            self._clock,
            listen=self._listen,
            reannounce_grace_s=self._reannounce_grace_s,
            metrics=self._metrics,
        ) as control:
            if self._health is not None:
                self._health.add("database", control.watch.trouble)
            ready()
            await stop.wait()
            if self._health is not None:
                self._health.draining()


def services_of(settings: ControlSettings, clock: Clock, health: Health) -> list[Service]:
    """Control on its own: with the probes' port and, when enabled, the metrics'."""
    metrics = MetricsRegistry()
    services: list[Service] = [
        HttpServer(Starlette(routes=health_routes(health)), settings.http_address, name="control-http")
    ]
    if settings.metrics_enabled:
        address = (settings.metrics_host, settings.metrics_port)
        services.append(HttpServer(metrics_app(metrics), address, name="control-metrics"))
    return [*services, ControlService(settings, clock, health=health, metrics=metrics)]


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


async def recall_anchors(store: Store, continuities: MemoryContinuities, clock: Clock) -> None:
    """Whose conversations are whose, as far back as one is likely to be taken up again."""
    async with store.begin(writing=False) as unit:
        for account_id, anchors in await unit.turns.anchors(since=clock.now() - ANCHORS_RECALLED):
            continuities.remember(anchors, account_id)


async def next_term(store: Store) -> int:
    """The number of this start of control; every fence begins with it."""
    async with store.begin(writing=True) as unit:
        return await unit.terms.next("control")


async def keep_time(settle: SettleLeases, feed: PolicyFeed, tick_s: float) -> None:
    """Settles what vanished gateways held, and tells gateways how the pool is, once per tick."""
    async with anyio.create_task_group() as settling:
        while True:
            await anyio.sleep(tick_s)
            feed.refresh_pool()
            # Not awaited: while the database is away, the slots of the next gateway to vanish must still come back.
            settling.start_soon(lapse, settle)


async def lapse(settle: SettleLeases) -> None:
    """Settles lapsed leases once."""
    try:
        lapsed = await settle.lapse()
    except ControlError as error:
        log.warning("lapsed leases are not recorded", why=str(error))
    else:
        if lapsed:
            log.warning("leases of vanished gateways settled as abandoned", leases=lapsed)


class DatabaseWatch:
    """Whether the database answers, asked now and then so that health probes need not wait for it."""

    def __init__(self, store: Database) -> None:
        self._store = store
        self._trouble: str | None = None

    def trouble(self) -> str | None:
        """What is wrong, in a few words."""
        return self._trouble

    async def run(self) -> None:
        """Keeps asking; says in the log when the answer changes."""
        while True:
            await anyio.sleep(PING_EVERY_S)
            await self.ask()

    async def ask(self) -> None:
        """Asks once."""
        before = self._trouble
        try:
            await self._store.ping()
        except StoreUnavailableError as error:
            self._trouble = "the database does not answer"
            if before is None:
                log.warning("database is away", why=str(error))
        else:
            self._trouble = None
            if before is not None:
                log.info("database is back")


def measure(
    metrics: MetricsRegistry, pool: Pool, leases: Leases, ledger: Ledger, settle: SettleLeases, clock: Clock
) -> None:
    """Shows what is in memory; nothing is counted twice."""
    metrics.gauge("leases_held", "Leases held by gateways.").set_function(leases.held)
    metrics.gauge("settlements_waiting", "Entries of the ledger that are not committed.").set_function(
        lambda: ledger.waiting
    )
    metrics.gauge("turns_recorded", "Turns recorded since control started.").set_function(lambda: settle.turns_recorded)
    accounts = metrics.gauge("accounts", "Accounts by status.", ["status"])
    for status in AccountStatus:
        accounts.labels(status.value).set_function(partial(accounts_that_are, status, pool, clock))


def accounts_that_are(status: AccountStatus, pool: Pool, clock: Clock) -> int:
    """How many accounts stand there now."""
    return pool.count_by_status(clock.now())[status]


def options_of(settings: ControlSettings) -> DatabaseOptions:
    """How the database is connected to."""
    return DatabaseOptions(
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        pool_timeout_s=settings.database_pool_timeout_seconds,
    )


def first_settings(settings: ControlSettings) -> LiveSettings:
    """What holds until an operator changes it."""
    return LiveSettings(
        routing_strategy=Strategy(settings.routing_strategy),
        prefer_earlier_reset=settings.routing_prefer_earlier_reset,
        account_stream_limit=settings.proxy_account_stream_limit,
        account_create_limit=settings.proxy_account_response_create_limit,
        unauthenticated_client_cidrs=tuple(str(network) for network in settings.proxy_unauthenticated_client_cidrs),
        upstream_stream_transport=UpstreamTransport(settings.upstream_stream_transport),
    )


def periods_of(settings: ControlSettings) -> Periods:
    """How often what is refreshed."""
    return Periods(
        usage_s=settings.usage_refresh_interval_seconds if settings.usage_refresh_enabled else None,
        models_s=settings.model_registry_refresh_interval_seconds if settings.model_registry_enabled else None,
    )


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

"""What control knows: the database, and what it keeps in memory, part of it read from there at the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from codex_lb.control.assembly.sharing import Sharing, kept_alone
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.domain.pricing import Prices
from codex_lb.control.domain.settings import LiveSettings, Strategy, UpstreamTransport
from codex_lb.control.settings import ControlSettings
from codex_lb.control.store.batch_writer import open_ledger
from codex_lb.control.store.database import Database, DatabaseOptions, open_database
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.adopt_keys import AdoptKeys
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries
from codex_lb.control.usecases.count_limits import CountLimits
from codex_lb.control.usecases.gateways import Gateways
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.lease_ports import Leases
from codex_lb.control.usecases.ledger_ports import Ledger
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.probes import Probes
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.fingerprint import open_vault
from codex_lb.kit.clock import Clock
from codex_lb.kit.ids import new_id

ANCHORS_RECALLED = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class State:
    """All that the verbs work on."""

    store: Database
    vault: FernetVault
    term: int
    pool: Pool
    book: SettingsBook
    feed: PolicyFeed
    key_book: KeyBook
    limits: KeyLimits
    adopt_keys: AdoptKeys
    sharing: Sharing
    probes: Probes
    gateways: Gateways
    ledger: Ledger
    prices: Prices
    deliveries: AlertDeliveries

    @property
    def leases(self) -> Leases:
        """Who holds which slot."""
        return self.sharing.leases

    @property
    def continuities(self) -> MemoryContinuities:
        """What ties conversations to accounts."""
        return self.sharing.continuities

    @property
    def tickets(self) -> MemoryTickets:
        """The work that is given to workers."""
        return self.sharing.tickets


@asynccontextmanager
async def open_state(settings: ControlSettings, clock: Clock, timing: Timing) -> AsyncIterator[State]:
    """Reads what an earlier control left. Leaving it commits what the ledger was handed."""
    prices = load_prices(settings.prices_file)
    async with open_database(settings.database, options_of(settings)) as store, AsyncExitStack() as stack:
        vault = await open_vault(settings.key_file, store)
        term = await next_term(store)
        pool = Pool(vault)
        await pool.load(store)
        book = await SettingsBook.load(store, first_settings(settings))
        feed = PolicyFeed(pool, book, clock, history_id=new_id("policy"))
        await feed.load_catalog(store)
        key_book = KeyBook(feed)
        await key_book.load(store)
        sharing = await stack.enter_async_context(open_sharing(settings, clock, timing, term))
        limits = KeyLimits(key_book, sharing.budgets, CountLimits(sharing.budgets, store, clock), prices, clock)
        await limits.load()
        adopt_keys = AdoptKeys(key_book, limits, store)
        await recall_anchors(store, sharing.continuities, clock)
        probes = Probes(clock)
        deliveries = AlertDeliveries(store, vault, clock)
        await deliveries.load()
        gateways = Gateways(clock)
        async with open_ledger(store) as ledger:
            yield State(
                store=store,
                vault=vault,
                term=term,
                pool=pool,
                book=book,
                feed=feed,
                key_book=key_book,
                limits=limits,
                adopt_keys=adopt_keys,
                sharing=sharing,
                probes=probes,
                gateways=gateways,
                ledger=ledger,
                prices=prices,
                deliveries=deliveries,
            )


@asynccontextmanager
async def open_sharing(settings: ControlSettings, clock: Clock, timing: Timing, term: int) -> AsyncIterator[Sharing]:
    """What this control coordinates with, alone or over the Redis that it shares with others."""
    if settings.redis_url is None:
        yield kept_alone(clock, timing, term)
        return
    from codex_lb.control.assembly.sharing_by_redis import share  # noqa: PLC0415 - brings Redis's client

    async with share(settings.redis_url, settings.redis_pool, clock, timing, term) as sharing:
        yield sharing


async def next_term(store: Store) -> int:
    """The number of this start of control; every fence begins with it."""
    async with store.begin(writing=True) as unit:
        return await unit.terms.next("control")


async def recall_anchors(store: Store, continuities: MemoryContinuities, clock: Clock) -> None:
    """Whose conversations are whose, as far back as one is likely to be taken up again."""
    async with store.begin(writing=False) as unit:
        for account_id, anchors in await unit.turns.anchors(since=clock.now() - ANCHORS_RECALLED):
            continuities.recall(anchors, account_id)


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

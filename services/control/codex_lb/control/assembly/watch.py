"""What control looks at all the time: whether its database answers, which leases lapsed, how the pool stands."""

from __future__ import annotations

from functools import partial

import anyio
import structlog

from codex_lb.control.assembly.state import State
from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.errors import ControlError, StoreUnavailableError
from codex_lb.control.store.database import Database
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.kit.clock import Clock
from codex_lb.kit.metrics import MetricsRegistry

PING_EVERY_S = 5.0  # how soon readiness follows a database that went away

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


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


def measure(metrics: MetricsRegistry, state: State, settle: SettleLeases, clock: Clock) -> None:
    """Shows what is in memory; nothing is counted twice."""
    metrics.gauge("leases_held", "Leases held by gateways.").set_function(state.leases.held)
    metrics.gauge("settlements_waiting", "Entries of the ledger that are not committed.").set_function(
        lambda: state.ledger.waiting
    )
    metrics.gauge("turns_recorded", "Turns recorded since control started.").set_function(lambda: settle.turns_recorded)
    accounts = metrics.gauge("accounts", "Accounts by status.", ["status"])
    for status in AccountStatus:
        accounts.labels(status.value).set_function(partial(accounts_that_are, status, state.pool, clock))


def accounts_that_are(status: AccountStatus, pool: Pool, clock: Clock) -> int:
    """How many accounts stand there now."""
    return pool.count_by_status(clock.now())[status]

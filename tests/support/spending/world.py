"""Controls, gateways that settle, and a ledger on a real database: all that has a part in what an API key has spent.

There is no gRPC and no upstream, so that anybody can be killed between any two steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from random import Random

from msgspec import structs

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.redis import RedisLeases, open_redis_leases
from codex_lb.control.coordination.scripts import Reply, Scripts
from codex_lb.control.domain.api_key import ApiKey
from codex_lb.control.domain.evidence import Evidence
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease, Outcome, Settlement, TurnReport, Usage
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.store.database import Database
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.adopt_keys import AdoptKeys
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.control.usecases.count_limits import CountLimits
from codex_lb.control.usecases.keep_api_keys import KeepApiKeys
from codex_lb.control.usecases.key_book import KeyBook
from codex_lb.control.usecases.key_limits import KeyLimits
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.mend_keys import MendKeys
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.refusals import Refused
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.usecases.settle_leases import SettleLeases
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.redis import Argument, RedisAwayError, RedisLink, Script, open_redis
from tests.support.clock import FakeClock
from tests.support.redis_server import PATIENCE_S, RedisServer
from tests.unit.control.leases import pool_of, settled, wanted

PRICES = load_prices()
LONG_S = 60.0  # nobody waits this long
terms = count(1)


class StoreLedger:
    """Commits at once, and tells whom it has told as abandoned."""

    def __init__(self, store: Database, abandoned: list[LeaseId]) -> None:
        self._store = store
        self._abandoned = abandoned

    @property
    def waiting(self) -> int:
        """Nothing ever waits."""
        return 0

    async def write(
        self,
        settlements: Sequence[Settlement],
        reports: Sequence[TurnReport],  # noqa: ARG002 - lines of the log count for nothing
        evidence: Sequence[tuple[AccountId, Evidence]],  # noqa: ARG002
    ) -> None:
        """Returns once it is committed."""
        async with self._store.begin(writing=True) as unit:
            await unit.turns.record(settlements, [])
        self._abandoned += [one.lease.lease_id for one in settlements if one.outcome is Outcome.ABANDONED]


@dataclass
class ControlOfTest:
    """The verbs about leases and limits, over one lease table."""

    leases: MemoryLeases | RedisLeases
    acquire: AcquireLease
    settle: SettleLeases
    limits: KeyLimits
    book: KeyBook
    adopt: AdoptKeys
    keep: KeepApiKeys
    ledger: StoreLedger

    async def ask(self, gateway: ReplicaId, key: ApiKey, tokens: int) -> Granted | Refused:
        """A lease for a turn that may use so many tokens, all of them input."""
        turn = structs.replace(wanted(wait_max_s=LONG_S), api_key_id=key.api_key_id, input_tokens=tokens)
        return await self.acquire(turn, gateway)

    async def hear(
        self, gateway: ReplicaId, held: Sequence[Lease], unacknowledged: Sequence[Settlement], clock: FakeClock
    ) -> None:
        """A gateway attaches, and says what it holds and what it was never told to be recorded."""
        await self.leases.renew(gateway, now=clock.now())
        await self.leases.reconcile(gateway, held)
        await self.end(unacknowledged)

    async def follows(self) -> None:
        """Returns once it can ask Redis, if there is one."""
        if isinstance(self.leases, RedisLeases):
            await asyncio.wait_for(self.leases.following(), PATIENCE_S)

    async def end(self, settlements: Sequence[Settlement]) -> None:
        """Settlements come and are recorded."""
        learned = await self.settle.apply(settlements)
        await self.settle.record(settlements, [], learned)


@asynccontextmanager
async def open_control(
    opening: AbstractAsyncContextManager[MemoryLeases | RedisLeases],
    store: Database,
    clock: FakeClock,
    abandoned: list[LeaseId],
) -> AsyncIterator[ControlOfTest]:
    """A control that has read what is stored; leaving it is a kill."""
    async with opening as leases:
        control = await control_on(leases, store, clock, abandoned)
        serving = asyncio.create_task(control.acquire.run())
        try:
            yield control
        finally:
            serving.cancel()


async def control_on(
    leases: MemoryLeases | RedisLeases, store: Database, clock: FakeClock, abandoned: list[LeaseId]
) -> ControlOfTest:
    """All of it, made from top to bottom."""
    term, numbers = next(terms), count(1)
    pool, book = pool_of("a"), SettingsBook(LiveSettings(account_stream_limit=0))
    keys = KeyBook(PolicyFeed(pool, book, clock, history_id="history"))
    await keys.load(store)
    limits = KeyLimits(keys, leases.budgets, CountLimits(leases.budgets, store, clock), PRICES, clock)
    await limits.load()
    adopt = AdoptKeys(keys, limits, store)
    continuities = MemoryContinuities(clock)
    acquire = AcquireLease(
        pool,
        leases,
        Selector(pool, leases, book, clock, random=lambda: 0.5),
        clock,
        term=term,
        book=book,
        continuities=continuities,
        limits=limits,
        mend=MendKeys(keys, limits, adopt),
        new_lease_id=lambda: f"lease-{term}-{next(numbers)}",
    )
    ledger = StoreLedger(store, abandoned)
    settle = SettleLeases(pool, leases, continuities, ledger, PRICES, limits, clock)
    keep = KeepApiKeys(
        keys,
        limits,
        store,
        clock,
        new_id=lambda kind: f"{kind}-{term}-{next(numbers)}",
        new_random_part=lambda: f"{term}-{next(numbers)}".rjust(43, "x"),
    )
    return ControlOfTest(leases, acquire, settle, limits, keys, adopt, keep, ledger)


class RunningControl:
    """A control that runs in a task of its own, until it is killed."""

    def __init__(self, opening: AbstractAsyncContextManager[ControlOfTest]) -> None:
        self._opening = opening
        self._opened: asyncio.Future[ControlOfTest] = asyncio.get_running_loop().create_future()
        self._killed = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def opened(self) -> ControlOfTest:
        """Once it serves."""
        await asyncio.wait([self._task, self._opened], return_when=asyncio.FIRST_COMPLETED)
        return self._opened.result() if self._opened.done() else await self._failed()

    async def kill(self) -> None:
        """Returns once nothing of it is left."""
        self._killed.set()
        await self._task

    async def _run(self) -> None:
        async with self._opening as control:
            self._opened.set_result(control)
            await self._killed.wait()

    async def _failed(self) -> ControlOfTest:
        await self._task
        raise AssertionError("it ended before it served")


@asynccontextmanager
async def memory_leases() -> AsyncIterator[MemoryLeases]:
    """A table of one control's own, with a TTL of 10 s."""
    yield MemoryLeases(ttl_s=10.0)


def ended(lease: Lease, tokens: int) -> Settlement:
    """The end of a turn that used so many tokens."""
    return structs.replace(settled(lease), usage=Usage(tokens - 1, 0, 1, 0, tokens))


class FaultyScripts(Scripts):
    """Scripts whose calls are lost now and then: on the way to Redis, or on the way back."""

    def __init__(self, link: RedisLink, clock: FakeClock, *, prefix: str, faults: Faults) -> None:
        super().__init__(link, clock, prefix=prefix, server_now_ms=lambda: round(clock.now().timestamp() * 1000))
        self._faults = faults

    async def run(
        self, script: Script, generation: str, *arguments: Argument, deadline_s: float | None = None
    ) -> Reply:
        """Raises RedisAwayError."""
        fault = self._faults.draw()
        if fault == "lost":
            raise RedisAwayError("the call was lost")
        reply = await super().run(script, generation, *arguments, deadline_s=deadline_s)
        if fault == "unanswered":
            raise RedisAwayError("the answer was lost")
        return reply


@dataclass
class Faults:
    """How often calls are lost, and how often they were."""

    random: Random
    share: float = 0.0
    drawn: int = 0

    def draw(self) -> str:
        """What becomes of the next call."""
        if self.random.random() >= self.share:
            return ""
        self.drawn += 1
        return self.random.choice(["lost", "unanswered"])


@asynccontextmanager
async def redis_leases(
    server: RedisServer, clock: FakeClock, prefix: str, faults: Faults
) -> AsyncIterator[RedisLeases]:
    """A table that several controls share, with a TTL of 10 s."""
    async with open_redis(server.url, SystemClock(), deadline_s=PATIENCE_S) as link:
        scripts = FaultyScripts(link, clock, prefix=prefix, faults=faults)
        async with open_redis_leases(scripts, ttl_s=10.0, grace_s=0.0) as leases:
            await asyncio.wait_for(leases.following(), PATIENCE_S)
            yield leases

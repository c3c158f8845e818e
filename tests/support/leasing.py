"""Random steps on the desk where leases are granted, checked against what must always hold.

Turns ask, wait, give up, begin and end; gateways fall silent, come back and announce; settlements come twice, late and with
the wrong fence; operators pause accounts and change the number of slots. Run: python -m tests.support.leasing 100000
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random

from msgspec.structs import replace

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.evidence import Operated, OperatorAction
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease, Outcome
from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.acquire_lease import AcquireLease
from codex_lb.control.usecases.asked_turn import Granted
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.refusals import Refused
from codex_lb.control.usecases.selector import Selector
from codex_lb.control.usecases.settle_leases import SettleLeases
from tests.support.clock import NOON, FakeClock
from tests.unit.control.keys import ListSpendings, api_key, keys_of
from tests.unit.control.leases import ListLedger, pool_of, settled, wanted

TTL_S = 10.0
SLOTS = 3
ACCOUNTS = ("a", "b", "c")
KEYS = ("x", "x", "x", "y", "z")
STREAMS_MAX = {"y": 1}
WAITING_MAX = 40
TOKENS = 120  # of every turn that ends; those that are abandoned were expected to use none
LONG_S = 3600.0  # no turn waits this long: steps of their own make it give up


@dataclass(eq=False)
class Gateway:
    """A gateway, and what it holds."""

    replica_id: ReplicaId
    leases: dict[LeaseId, Lease] = field(default_factory=dict)
    waiting: list[asyncio.Task[Granted | Refused]] = field(default_factory=list)
    is_silent: bool = False


class Campaign:
    """The desk and its model."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = FakeClock()
        self.pool = pool_of(*ACCOUNTS)
        self.leases = MemoryLeases(ttl_s=TTL_S)
        self.ledger = ListLedger()
        continuities = MemoryContinuities(self.clock)
        book = SettingsBook(LiveSettings(account_stream_limit=SLOTS))
        ids = count(1)
        keys = [api_key(name, token_limit(name), streams_max=STREAMS_MAX.get(name, 0)) for name in set(KEYS)]
        self.keys = keys_of(
            self.clock, *keys, pool=self.pool, budgets=self.leases.budgets, store=ListSpendings(self.ledger)
        )
        self.acquire = AcquireLease(
            self.pool,
            self.leases,
            Selector(self.pool, self.leases, book, self.clock, random=self.random.random),
            self.clock,
            term=1,
            book=book,
            continuities=continuities,
            limits=self.keys.limits,
            mend=self.keys.mend,
            new_lease_id=lambda: f"lease-{next(ids)}",
            waiting_max=WAITING_MAX,
        )
        self.settle = SettleLeases(
            self.pool, self.leases, continuities, self.ledger, load_prices(), self.keys.limits, self.clock
        )
        self.names = count(1)
        self.gateways = [self._gateway() for _ in range(3)]
        self.fences: set[int] = set()
        self.done: Counter[str] = Counter()
        self.ended: list[Lease] = []

    def _gateway(self) -> Gateway:
        return Gateway(ReplicaId(f"gateway-{next(self.names)}"))

    async def run(self, steps: int) -> Counter[str]:
        """Takes the steps, then lets everything end; how often each was taken."""
        serving = asyncio.create_task(self.acquire.run())
        moves = [self.ask] * 6 + [self.end] * 5 + [self.give_up] * 2
        moves += [self.end_again, self.end_of_another_fence, self.begin, self.beat, self.fall_silent, self.come_back]
        moves += [self.operate, self.wait_a_while]
        for _ in range(steps):
            move = self.random.choice(moves)
            self.done[move.__name__] += 1
            await move()
            if self.random.random() < 0.7:  # else the next step comes in the same moment
                await self._quiet()
                self.check()
        await self.wind_up()
        serving.cancel()
        return self.done

    async def ask(self) -> None:
        """A turn asks, most of them with patience."""
        gateway = self.random.choice(self.gateways)
        turn = replace(
            wanted(wait_max_s=self.random.choice([0.0, LONG_S, LONG_S])), api_key_id=self.random.choice(KEYS)
        )
        gateway.waiting.append(asyncio.create_task(self.acquire(turn, gateway.replica_id)))

    async def give_up(self) -> None:
        """A client hangs up while its turn waits."""
        waiting = [(g, task) for g in self.gateways for task in g.waiting if not task.done()]
        if waiting:
            gateway, task = self.random.choice(waiting)
            gateway.waiting.remove(task)
            task.cancel()

    async def end(self) -> None:
        """A turn ends."""
        gateway = self.random.choice(self.gateways)
        if gateway.leases:
            lease = gateway.leases.pop(self.random.choice(list(gateway.leases)))
            self.ended.append(lease)
            await self._settle(lease)

    async def end_again(self) -> None:
        """A settlement is said twice."""
        if self.ended:
            await self._settle(self.random.choice(self.ended))

    async def end_of_another_fence(self) -> None:
        """A settlement carries a fence that is not the lease's."""
        heard = [gateway for gateway in self.gateways if not gateway.is_silent]
        held = [lease for gateway in heard for lease in gateway.leases.values()]
        if held:
            lease = self.random.choice(held)
            await self.settle.apply([settled(replace(lease, epoch=lease.epoch + 1))])

    async def begin(self) -> None:
        """Upstream begins to answer."""
        held = [lease_id for gateway in self.gateways for lease_id in gateway.leases]
        if held:
            await self.leases.begun([self.random.choice(held)])

    async def beat(self) -> None:
        """All who are not silent are heard."""
        for gateway in self.gateways:
            if not gateway.is_silent and not await self.leases.renew(gateway.replica_id, now=self.clock.now()):
                await self._announce(gateway)

    async def fall_silent(self) -> None:
        """A gateway is cut off, or killed."""
        self.random.choice(self.gateways).is_silent = True

    async def come_back(self) -> None:
        """A silent gateway is heard again, or another one stands in its place: it was killed."""
        silent = [gateway for gateway in self.gateways if gateway.is_silent]
        if not silent:
            return
        gateway = self.random.choice(silent)
        if self.random.random() < 0.5:
            for task in gateway.waiting:
                task.cancel()
            self.gateways[self.gateways.index(gateway)] = self._gateway()
            return
        gateway.is_silent = False
        await self._announce(gateway)

    async def operate(self) -> None:
        """An operator pauses or resumes an account."""
        action = self.random.choice(list(OperatorAction))
        self.clock.advance(0.001)
        self.pool.observe(AccountId(self.random.choice(ACCOUNTS)), Operated(action, self.clock.now()))

    async def wait_a_while(self) -> None:
        """Time passes; what silent gateways held lapses."""
        self.clock.advance(self.random.choice([0.1, 3.0, TTL_S + 1]))
        await self.beat()
        await self.settle.lapse()

    async def _announce(self, gateway: Gateway) -> None:
        await self.leases.renew(gateway.replica_id, now=self.clock.now())
        await self.leases.reconcile(gateway.replica_id, list(gateway.leases.values()))

    async def _settle(self, lease: Lease) -> None:
        settlement = settled(lease)
        learned = await self.settle.apply([settlement])
        if self.random.random() < 0.5:  # else the database takes its time
            await self.settle.record([settlement], [], learned)

    async def _quiet(self) -> None:
        """Lets everything run that can, and gives gateways their answers."""
        for _ in range(12):
            await asyncio.sleep(0)
        for gateway in self.gateways:
            for task in [task for task in gateway.waiting if task.done()]:
                gateway.waiting.remove(task)
                answer = None if task.cancelled() else task.result()
                if isinstance(answer, Granted):
                    assert answer.in_use <= SLOTS, "a slot was granted that was not there"
                    assert answer.lease.epoch not in self.fences, "a fence was given twice"
                    self.fences.add(answer.lease.epoch)
                    gateway.leases[answer.lease.lease_id] = answer.lease
                    self.done["granted"] += 1

    def check(self) -> None:
        """What must always hold."""
        assert self.acquire.waiting <= WAITING_MAX
        assert sum(self.leases.in_use(AccountId(name)) for name in ACCOUNTS) == self.leases.held()
        for gateway in self.gateways:
            if not gateway.is_silent:
                assert self.leases.held_by(gateway.replica_id) == len(gateway.leases), gateway.replica_id

    async def wind_up(self) -> None:
        """Every client hangs up, every gateway is heard and ends what it holds: nothing is left."""
        await self._quiet()
        for gateway in self.gateways:
            for task in gateway.waiting:
                task.cancel()
        await self._quiet()
        for gateway in self.gateways:
            for lease in gateway.leases.values():
                self.ended.append(lease)
                await self._settle(lease)
        self.clock.advance(TTL_S + 1)
        await self.settle.lapse()
        assert self.leases.held() == 0, "leases leaked"
        assert self.acquire.waiting == 0, "turns still wait"
        assert not any(self.leases.in_use(AccountId(name)) for name in ACCOUNTS), "slots leaked"
        assert not any(self.leases.creating(AccountId(name)) for name in ACCOUNTS), "create slots leaked"
        assert not any(self.leases.held_by_key(key) for key in KEYS), "keys still hold leases"
        self.clock.advance(TTL_S)
        await self.settle.lapse()  # what was not announced is given up
        for key in self.keys.book.all():
            [use] = (await self.keys.limits.use_of(key)).values()
            settled_once = {lease.lease_id for lease in self.ended if lease.api_key_id == key.api_key_id}
            assert use.reserved == 0, "reservations leaked"
            assert use.used == TOKENS * len(settled_once) > 0, "what was used is not what is counted"
        abandoned = Counter(s.lease.lease_id for s in self.ledger.settlements if s.outcome is Outcome.ABANDONED)
        self.done["abandoned"] = len(abandoned)


def token_limit(key: str) -> Limit:
    """A limit with room for everything: what matters is that each reservation ends."""
    return Limit(f"limit-of-{key}", LimitUnit.TOTAL_TOKENS, LimitWindow.MONTH, "", 10**15, NOON)


def main() -> None:
    """Runs the campaign and prints what was done."""
    steps, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    started = time.monotonic()
    done = asyncio.run(Campaign(seed).run(steps))
    print(f"{steps:,} steps in {time.monotonic() - started:.0f} s, seed {seed}: {dict(done)}", file=sys.stdout)  # noqa: T201 - a command


if __name__ == "__main__":
    main()

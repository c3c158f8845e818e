"""Every lease table against one model of it: never above the cap, ended at most once, nothing leaked.

In memory, methods promise to run to their end without waiting; the machine runs them without an event loop, which proves
it. On Redis there are two controls: whichever is asked, both must know the same afterwards.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.coordination.redis import RedisLeases
from codex_lb.control.coordination.scripts import prefix_of
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease
from codex_lb.control.usecases.lease_ports import Ending, Leases, Terms
from tests.support.clock import NOON, FakeClock
from tests.support.redis_server import PATIENCE_S, RedisServer, following_leases, redis_server
from tests.unit.control.leases import lease

TTL_S = 10.0
SLOTS, CREATE_SLOTS, KEY_SLOTS = 3, 2, 2
ACCOUNTS = [AccountId("a"), AccountId("b")]
GATEWAYS = [ReplicaId("g1"), ReplicaId("g2")]

__all__ = ["redis_server"]

numbers = count(1)

T = TypeVar("T")
KEYS = ["", "k", "l"]
owners = st.sampled_from(GATEWAYS)
keys = st.sampled_from(KEYS)
accounts = st.sampled_from(ACCOUNTS)


@dataclass
class Held:
    """What the model knows of a lease."""

    lease: Lease
    owner: ReplicaId
    is_creating: bool
    is_restored: bool  # announced by a gateway: granted by a control that is gone, so the cap does not bind it


class LeaseTable(RuleBasedStateMachine):
    """Gateways take, end, fall silent and come back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.held: dict[LeaseId, Held] = {}
        self.ended: list[Lease] = []
        self.alive_until: dict[ReplicaId, datetime] = {}
        self.heard: set[ReplicaId] = set()  # since they last lapsed; a grant alone does not make them known
        self.last_granted: dict[AccountId, int] = {}
        self.epoch = 0

    @property
    @abstractmethod
    def table(self) -> Leases:
        """The one that is asked now."""

    @abstractmethod
    def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """What the operation returns."""

    @property
    def now(self) -> datetime:
        """The present instant."""
        return self.clock.now()

    @rule(owner=owners)
    def heartbeat(self, owner: ReplicaId) -> None:
        was_known = self.run(self.table.renew(owner, now=self.now))

        assert was_known == (owner in self.heard)
        self.heard.add(owner)
        self.alive_until[owner] = self.now + timedelta(seconds=TTL_S)

    @rule(owner=owners, account=accounts, key=keys)
    def take(self, owner: ReplicaId, account: AccountId, key: str) -> None:
        wanted = self.new_lease(account, key)
        terms = Terms(slots=KEY_SLOTS if key else 0)

        answer = self.run(self.table.take(wanted, owner, slots=SLOTS, create_slots=CREATE_SLOTS, terms=terms))
        was_taken = isinstance(answer, Lease)

        is_key_free = not key or self.of_key(key) < KEY_SLOTS
        assert was_taken == (is_key_free and self.in_use(account) < SLOTS and self.creating(account) < CREATE_SLOTS)
        if was_taken:
            self.remember(wanted, owner, is_restored=False)

    @rule(data=st.data())
    def upstream_begins(self, data: st.DataObject) -> None:
        if self.held:
            begun = data.draw(st.lists(st.sampled_from(sorted(self.held)), unique=True))
            self.run(self.table.begun(begun))
            for lease_id in begun:
                self.held[lease_id].is_creating = False

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.held:
            held = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
            assert self.run(self.table.end(held.lease.lease_id, epoch=held.lease.epoch)) == held.lease
            self.ended.append(held.lease)

    @rule(data=st.data())
    def end_what_has_ended(self, data: st.DataObject) -> None:
        if self.ended:
            again = data.draw(st.sampled_from(self.ended))
            assert self.run(self.table.end(again.lease_id, epoch=again.epoch)) is None

    @rule(data=st.data())
    def end_with_a_foreign_fence(self, data: st.DataObject) -> None:
        if self.held:
            held = self.held[data.draw(st.sampled_from(sorted(self.held)))]
            assert self.run(self.table.end(held.lease.lease_id, epoch=held.lease.epoch + 1)) is None

    @rule(owner=owners, keeps=st.floats(0, 1), restores=st.integers(0, 2), account=accounts, key=keys)
    def attach_anew(self, owner: ReplicaId, keeps: float, restores: int, account: AccountId, key: str) -> None:
        self.heartbeat(owner)
        own = [h.lease for h in self.held.values() if h.owner == owner]
        kept, lost = own[: int(keeps * len(own))], own[int(keeps * len(own)) :]
        restored = [self.new_lease(account, key) for _ in range(restores)]

        assert self.run(self.table.reconcile(owner, [*kept, *restored])) == lost

        for one in lost:
            self.ended.append(self.held.pop(one.lease_id).lease)
        for one in restored:
            self.remember(one, owner, is_restored=True)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        lapsed = self.lapsed_within(seconds)
        silent = {owner for owner, until in self.alive_until.items() if until <= self.now}

        assert {x.lease_id for x in lapsed} == {i for i, h in self.held.items() if h.owner in silent}
        for one in lapsed:
            self.ended.append(self.held.pop(one.lease_id).lease)
        for owner in silent:
            del self.alive_until[owner]
            self.heard.discard(owner)

    @invariant()
    def counts_agree(self) -> None:
        assert self.table.held() == len(self.held)
        for owner in GATEWAYS:
            assert self.table.held_by(owner) == sum(h.owner == owner for h in self.held.values())
        for account in ACCOUNTS:
            held = [h for h in self.held.values() if h.lease.account_id == account]
            assert self.table.in_use(account) == len(held)
            assert self.table.creating(account) == self.creating(account)
            assert self.table.granted_since(account, NOON) == len(held)
            assert self.table.last_granted(account) == self.last_granted.get(account, 0)
        for key in KEYS:
            assert self.table.held_by_key(key) == self.of_key(key)

    @invariant()
    def no_account_is_granted_above_its_cap(self) -> None:
        granted = Counter(h.lease.account_id for h in self.held.values() if not h.is_restored)
        assert all(n <= SLOTS for n in granted.values())

    def teardown(self) -> None:
        self.lapsed_within(TTL_S + 1)
        assert (self.table.held(), *map(self.table.in_use, ACCOUNTS)) == (0, 0, 0)

    def lapsed_within(self, seconds: float) -> list[Lease]:
        lapsed: list[Lease] = []
        for _ in range(4):
            self.clock.advance(seconds / 4)
            silent = self.run(self.table.lapse(now=self.now))
            self.run(self.record(self.table, silent))
            lapsed += silent
        return lapsed

    async def record(self, table: Leases, lapsed: Sequence[Lease]) -> None:
        await table.settle([Ending(one, is_final=False) for one in lapsed], now=self.now)
        await table.recorded([(one.lease_id, False) for one in lapsed], now=self.now)

    def new_lease(self, account: AccountId, key: str) -> Lease:
        self.epoch += 1
        return lease(f"lease-{self.epoch}", account_id=account, epoch=self.epoch, granted_at=self.now, api_key_id=key)

    def remember(self, one: Lease, owner: ReplicaId, *, is_restored: bool) -> None:
        self.held[one.lease_id] = Held(one, owner, is_creating=not is_restored, is_restored=is_restored)
        self.last_granted[one.account_id] = one.epoch
        self.alive_until.setdefault(owner, self.now + timedelta(seconds=TTL_S))

    def in_use(self, account: AccountId) -> int:
        return sum(h.lease.account_id == account for h in self.held.values())

    def of_key(self, key: str) -> int:
        return sum(h.lease.api_key_id == key for h in self.held.values())

    def creating(self, account: AccountId) -> int:
        return sum(h.lease.account_id == account and h.is_creating for h in self.held.values())


class InMemory(LeaseTable):
    """The table of a single control."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = MemoryLeases(ttl_s=TTL_S)

    @property
    def table(self) -> Leases:
        """The only one."""
        return self.leases

    def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """Without waiting."""
        try:
            operation.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        raise AssertionError("it waited")


class OnRedis(LeaseTable):
    """The table of two controls, asked in turn."""

    server: RedisServer

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.turn = 0
        self.controls: list[RedisLeases] = []
        self.stop = asyncio.Event()
        self.serving = self.loop.create_task(self.serve())
        self.loop.run_until_complete(self.until(lambda: len(self.controls) == 2))

    async def serve(self) -> None:
        prefix = prefix_of(f"machine-{next(numbers)}")
        async with AsyncExitStack() as stack:
            for _ in range(2):
                control = await stack.enter_async_context(following_leases(self.server, self.clock, prefix))
                self.controls.append(control)
            await self.stop.wait()

    @rule()
    def a_control_loses_track(self) -> None:
        self.loop.run_until_complete(self.lose_track(self.controls[self.turn % 2]))

    @property
    def table(self) -> Leases:
        """The next one."""
        return self.controls[self.turn % 2]

    def run(self, operation: Coroutine[Any, Any, T]) -> T:
        """What it returns, once both controls know of it."""
        result = self.loop.run_until_complete(operation)
        self.turn += 1
        self.loop.run_until_complete(self.until(lambda: self.controls[0].position == self.controls[1].position))
        return result

    async def lose_track(self, control: RedisLeases) -> None:
        control.follow_anew()
        await self.until(lambda: control.position[0] != "")

    async def until(self, is_so: Callable[[], bool]) -> None:
        with anyio.fail_after(PATIENCE_S):
            while not is_so():
                await anyio.lowlevel.checkpoint()

    def teardown(self) -> None:
        super().teardown()
        self.stop.set()
        self.loop.run_until_complete(self.serving)
        self.loop.close()


@pytest.mark.parametrize(("machine", "examples"), [(InMemory, 60), (OnRedis, 15)])
def test_the_lease_table_agrees_with_its_model_whatever_gateways_do(
    machine: type[LeaseTable], examples: int, redis_server: RedisServer
) -> None:
    OnRedis.server = redis_server
    several = settings(max_examples=examples, stateful_step_count=40, deadline=None)

    run_state_machine_as_test(machine, settings=several)

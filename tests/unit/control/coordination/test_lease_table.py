"""The lease table against a model of it: never above the cap, ended at most once, nothing leaked.

Its methods promise to run to their end without waiting; the machine runs them without an event loop, which proves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease
from tests.support.clock import NOON
from tests.unit.control.leases import lease

TTL_S = 10.0
SLOTS = 3
ACCOUNTS = [AccountId("a"), AccountId("b")]
GATEWAYS = [ReplicaId("g1"), ReplicaId("g2")]

T = TypeVar("T")
owners = st.sampled_from(GATEWAYS)
accounts = st.sampled_from(ACCOUNTS)


@dataclass
class Held:
    """What the model knows of a lease."""

    lease: Lease
    owner: ReplicaId
    is_restored: bool  # announced by a gateway: granted by a control that is gone, so the cap does not bind it


class LeaseTable(RuleBasedStateMachine):
    """Gateways take, end, fall silent and come back, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.table = MemoryLeases(ttl_s=TTL_S)
        self.now = NOON
        self.held: dict[LeaseId, Held] = {}
        self.ended: list[Lease] = []
        self.alive_until: dict[ReplicaId, datetime] = {}
        self.heard: set[ReplicaId] = set()  # since they last lapsed; a grant alone does not make them known
        self.epoch = 0

    @rule(owner=owners)
    def heartbeat(self, owner: ReplicaId) -> None:
        was_known = at_once(self.table.renew(owner, now=self.now))

        assert was_known == (owner in self.heard)
        self.heard.add(owner)
        self.alive_until[owner] = self.now + timedelta(seconds=TTL_S)

    @rule(owner=owners, account=accounts)
    def take(self, owner: ReplicaId, account: AccountId) -> None:
        wanted = self.new_lease(account)

        was_taken = at_once(self.table.take(wanted, owner, slots=SLOTS))

        assert was_taken == (self.in_use(account) < SLOTS)
        if was_taken:
            self.remember(wanted, owner, is_restored=False)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.held:
            held = self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
            assert at_once(self.table.end(held.lease.lease_id, epoch=held.lease.epoch)) == held.lease
            self.ended.append(held.lease)

    @rule(data=st.data())
    def end_what_has_ended(self, data: st.DataObject) -> None:
        if self.ended:
            again = data.draw(st.sampled_from(self.ended))
            assert at_once(self.table.end(again.lease_id, epoch=again.epoch)) is None

    @rule(data=st.data())
    def end_with_a_foreign_fence(self, data: st.DataObject) -> None:
        if self.held:
            held = self.held[data.draw(st.sampled_from(sorted(self.held)))]
            assert at_once(self.table.end(held.lease.lease_id, epoch=held.lease.epoch + 1)) is None

    @rule(owner=owners, keeps=st.floats(0, 1), restores=st.integers(0, 2), account=accounts)
    def attach_anew(self, owner: ReplicaId, keeps: float, restores: int, account: AccountId) -> None:
        self.heartbeat(owner)
        own = [h.lease for h in self.held.values() if h.owner == owner]
        kept, lost = own[: int(keeps * len(own))], own[int(keeps * len(own)) :]
        restored = [self.new_lease(account) for _ in range(restores)]

        assert at_once(self.table.reconcile(owner, [*kept, *restored])) == lost

        for one in lost:
            self.ended.append(self.held.pop(one.lease_id).lease)
        for one in restored:
            self.remember(one, owner, is_restored=True)

    @rule(seconds=st.sampled_from([1.0, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        silent = {owner for owner, until in self.alive_until.items() if until <= self.now}

        lapsed = at_once(self.table.lapse(now=self.now))

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
            assert self.table.in_use(account) == self.in_use(account)

    @invariant()
    def no_account_is_granted_above_its_cap(self) -> None:
        granted = Counter(h.lease.account_id for h in self.held.values() if not h.is_restored)
        assert all(n <= SLOTS for n in granted.values())

    def teardown(self) -> None:
        at_once(self.table.lapse(now=self.now + timedelta(seconds=TTL_S + 1)))
        assert (self.table.held(), *map(self.table.in_use, ACCOUNTS)) == (0, 0, 0)

    def new_lease(self, account: AccountId) -> Lease:
        self.epoch += 1
        return lease(f"lease-{self.epoch}", account_id=account, epoch=self.epoch, granted_at=self.now)

    def remember(self, one: Lease, owner: ReplicaId, *, is_restored: bool) -> None:
        self.held[one.lease_id] = Held(one, owner, is_restored)
        self.alive_until.setdefault(owner, self.now + timedelta(seconds=TTL_S))

    def in_use(self, account: AccountId) -> int:
        return sum(h.lease.account_id == account for h in self.held.values())


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("it waited")


def test_the_lease_table_agrees_with_its_model_whatever_gateways_do() -> None:
    run_state_machine_as_test(LeaseTable, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))

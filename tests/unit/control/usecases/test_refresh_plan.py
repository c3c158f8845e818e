"""What is to be refreshed follows the pool, and what did not change is not looked at again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import count

import pytest
from cryptography.fernet import Fernet

from codex_lb.control.coordination.tickets import MemoryTickets
from codex_lb.control.domain.evidence import (
    Closed,
    Evidence,
    LoginRejected,
    Operated,
    OperatorAction,
    Reactivated,
    RefusalKind,
    Refused,
    Served,
)
from codex_lb.control.domain.ids import AccountId, WorkerId
from codex_lb.control.domain.refresh import CLAIM_AGAIN_S_MAX, Periods, Task, TicketKind
from codex_lb.control.domain.rotation import Pace
from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.usecases.alert_deliveries import AlertDeliveries
from codex_lb.control.usecases.claim_tickets import ClaimTickets
from codex_lb.control.usecases.ports import UnitOfWork
from codex_lb.control.usecases.probes import Probes
from codex_lb.control.usecases.refresh_plan import RefreshPlan
from codex_lb.control.usecases.rotations import Rotations
from codex_lb.control.vault.cipher import FernetVault
from codex_lb.control.vault.key_file import Key
from tests.support.clock import NOON, FakeClock
from tests.unit.control.leases import account, pool_of

A, B = AccountId("a"), AccountId("b")
ALL = timedelta(days=365)
KINDS = [TicketKind.USAGE, TicketKind.MODELS]


async def test_usage_is_fetched_per_account_and_models_are_listed_per_plan() -> None:
    bench = Bench("a", "b")
    bench.pool.update(account("b", plan="pro"))

    assert await bench.tasks() == {usage("a"), usage("b"), models("plus"), models("pro")}


@pytest.mark.parametrize(
    ("seen", "is_refreshed"),
    [
        (Served(NOON), True),
        (Refused(RefusalKind.QUOTA, "usage_limit_reached", NOON + timedelta(hours=1), NOON), True),
        (Operated(OperatorAction.PAUSED, NOON), False),
        (LoginRejected(1, "token_expired", NOON), False),
        (Closed(1, "account_deactivated", NOON), False),
    ],
)
async def test_accounts_that_only_a_person_can_bring_back_are_left_alone(seen: Evidence, is_refreshed: bool) -> None:
    bench = Bench("a")
    await bench.tasks()
    bench.pool.observe(A, seen)

    assert await bench.tasks() == ({usage("a"), models("plus")} if is_refreshed else set())


async def test_a_plan_is_listed_for_as_long_as_anybody_has_it() -> None:
    bench = Bench("a", "b")
    before = await bench.tasks()
    bench.pool.observe(A, Operated(OperatorAction.PAUSED, NOON))
    without_a = await bench.tasks()
    bench.pool.note_plan(B, "pro", now=NOON)
    without_plus = await bench.tasks()
    bench.pool.remove(B)
    bench.pool.observe(A, Operated(OperatorAction.RESUMED, NOON + timedelta(seconds=1)))

    assert before == {usage("a"), usage("b"), models("plus")}
    assert without_a == {usage("b"), models("plus")}
    assert without_plus == {usage("b"), models("pro")}
    assert await bench.tasks() == {usage("a"), models("plus")}


async def test_an_account_that_did_not_change_is_not_planned_anew() -> None:
    bench = Bench("a", "b")
    await bench.tasks()
    bench.pool.observe(A, Reactivated(NOON))

    await bench.tasks()
    await bench.tasks()

    assert bench.tickets.planned == [{usage("a"), usage("b"), models("plus")}, {usage("a")}]


async def test_a_login_that_is_wanted_anew_is_planned_anew() -> None:
    bench = Bench("a")
    rotation = Task(TicketKind.ROTATION, "a")
    await bench.plan.catch_up(NOON)
    before = await bench.tickets.next_due([TicketKind.ROTATION], now=NOON)

    bench.rotations.wish(A)
    await bench.plan.catch_up(NOON)

    assert before == NOON + ALL
    assert await bench.tickets.due([TicketKind.ROTATION], until=NOON, now=NOON) == [rotation]


async def test_what_was_hurried_and_is_gone_does_not_keep_workers_asking() -> None:
    bench = Bench("a")
    await bench.claim(WorkerId("w"), KINDS, tickets_max=9)
    bench.pool.remove(A)
    await bench.tickets.hurry(usage("a"), now=NOON)

    claim = await bench.claim(WorkerId("w"), KINDS, tickets_max=9)

    assert (claim.tickets, claim.next_claim_in_s) == ((), CLAIM_AGAIN_S_MAX)


class CountedTickets(MemoryTickets):
    """Real ones that remember what was planned."""

    planned: list[set[Task]]

    async def plan(self, due: Mapping[Task, datetime], *, gone: Collection[Task] = ()) -> None:
        self.planned.append({task for task in due if task.kind in KINDS})
        await super().plan(due, gone=gone)


class NoStore:
    """A database that is away."""

    def begin(self, *, writing: bool) -> UnitOfWork:
        raise StoreUnavailableError(f"away, {writing=}")


class Bench:
    """A pool whose refreshing is planned."""

    def __init__(self, *names: str) -> None:
        ids, clock = count(1), FakeClock()
        vault = FernetVault([Key("key-of-tests", Fernet.generate_key())])
        self.pool = pool_of(*names, vault=vault)
        self.tickets = CountedTickets(term=1, new_ticket_id=lambda: f"ticket-{next(ids)}")
        self.tickets.planned = []
        self.rotations = Rotations(self.pool, NoStore(), vault, clock, interval=ALL, pace=Pace())
        probes, deliveries = Probes(clock), AlertDeliveries(NoStore(), vault, clock)
        periods = Periods()
        self.plan = RefreshPlan(self.pool, self.tickets, self.rotations, probes, deliveries, periods=periods)
        self.claim = ClaimTickets(
            self.pool, self.plan, self.tickets, self.rotations, probes, deliveries, clock, periods=periods
        )

    async def tasks(self) -> set[Task]:
        """What is planned, rotations aside."""
        await self.plan.catch_up(NOON)
        return set(await self.tickets.due(KINDS, until=NOON + ALL, now=NOON))


def usage(name: str) -> Task:
    return Task(TicketKind.USAGE, name)


def models(plan: str) -> Task:
    return Task(TicketKind.MODELS, plan)

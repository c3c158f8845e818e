"""Ending leases: the slot is free at once, evidence is believed at once, the record is made once."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from codex_lb.control.coordination.continuities import MemoryContinuities
from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.evidence import RefusalKind, Refused
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Blame, Fault, Lease, Outcome
from codex_lb.control.errors import EntriesRefusedError
from codex_lb.control.store.price_file import load_prices
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.settle_leases import SettleLeases
from tests.support.clock import NOON, FakeClock
from tests.unit.control.keys import keys_of
from tests.unit.control.leases import ListLedger, lease, pool_of, report, settled

GATEWAY = ReplicaId("g")
A = AccountId("a")


async def test_a_slot_is_free_and_evidence_believed_before_anything_is_committed() -> None:
    bench = Bench(pool_of("a"))
    held = await bench.granted("lease-1")
    refused = Refused(RefusalKind.QUOTA, "usage_limit_reached", NOON + timedelta(hours=1), NOON)

    learned = await bench.settle.apply([settled(held, refused, outcome=Outcome.LIMITED)])

    assert bench.leases.in_use(A) == 0
    assert bench.pool.count_by_status(NOON)[AccountStatus.RATE_LIMITED] == 1
    assert learned == [(A, refused)]
    assert not bench.ledger.settlements


async def test_where_a_conversation_failed_is_remembered() -> None:
    bench = Bench(pool_of("a"))
    fault = Fault("stream_incomplete", Blame.UPSTREAM, 0, "…")
    failed = replace(settled(await bench.granted("lease-1")), fault=fault, failed_affinity_keys=(b"s1",))

    await bench.settle.apply([failed])

    assert await bench.continuities.failed_lately([b"s1"]) == (A,)
    assert await bench.continuities.failing() == (A,)


async def test_an_account_that_fails_a_turn_of_no_conversation_is_failing_and_one_whose_client_erred_is_not() -> None:
    bench = Bench(pool_of("a"))
    erred = replace(settled(await bench.granted("lease-1")), fault=Fault("invalid_prompt", Blame.CLIENT, 400, "…"))
    failed = replace(erred, fault=Fault("server_error", Blame.UPSTREAM, 500, "…"))

    await bench.settle.apply([erred])
    after_a_mistake = await bench.continuities.failing()
    await bench.settle.apply([failed])

    assert (after_a_mistake, await bench.continuities.failing()) == ((), (A,))


async def test_what_is_acknowledged_is_what_was_recorded() -> None:
    bench = Bench(pool_of("a"))
    settlement = settled(await bench.granted("lease-1"))

    ended = await bench.settle.record([settlement], [], [])

    assert [one.lease for one in bench.ledger.settlements] == [settlement.lease]
    assert (ended.lease_ids, ended.refused_lease_ids) == ((LeaseId("lease-1"),), ())


async def test_what_a_turn_cost_is_recorded_with_it() -> None:
    bench = Bench(pool_of("a"))
    told = report("turn", model="gpt-5.5", service_tier="priority")

    await bench.settle.record(
        [settled(lease("lease"))], [told, replace(told, model="house"), replace(told, usage=None)], []
    )

    [settlement] = bench.ledger.settlements
    assert (settlement.cost_micro_usd, settlement.cost_source) == (920, "2026-11 gpt-5.5 standard")
    assert [(line.cost_micro_usd, line.cost_source) for line in bench.ledger.reports] == [
        (2_300, "2026-11 gpt-5.5 priority"),
        (None, "model_unknown"),
        (None, ""),
    ]


async def test_a_settlement_the_database_can_never_hold_is_told_apart() -> None:
    class Refusing(ListLedger):
        async def write(self, *_facts: object) -> None:
            raise EntriesRefusedError(lease_ids=frozenset({"bad"}), turn_ids=frozenset(), evidence=0)

    bench = Bench(pool_of("a"), Refusing())

    ended = await bench.settle.record([settled(lease("good")), settled(lease("bad"))], [], [])

    assert (ended.lease_ids, ended.refused_lease_ids) == ((LeaseId("good"),), (LeaseId("bad"),))


async def test_a_lease_of_a_lost_control_is_settled_like_any_other() -> None:
    bench = Bench(pool_of("a"))

    await bench.settle.apply([settled(lease("from before"))])

    assert bench.leases.held() == 0


async def test_evidence_about_an_account_that_is_gone_is_not_recorded() -> None:
    bench = Bench(pool_of())
    refused = Refused(RefusalKind.RATE, "rate_limit_exceeded", None, NOON)

    assert await bench.settle.apply([settled(lease("1"), refused)]) == []


async def test_what_a_vanished_gateway_held_is_recorded_as_abandoned_once_its_time_is_over() -> None:
    bench = Bench(pool_of("a"))
    held = await bench.granted("lease-1")

    bench.clock.advance(9.9)
    assert await bench.settle.lapse() == 0
    bench.clock.advance(0.1)
    assert await bench.settle.lapse() == 1
    assert await bench.settle.lapse() == 0

    [abandoned] = bench.ledger.settlements
    assert (abandoned.lease, abandoned.outcome) == (held, Outcome.ABANDONED)
    [line] = bench.ledger.reports
    assert (line.turn_id, line.account_id, line.outcome) == (held.turn_id, "a", Outcome.ABANDONED)
    assert bench.leases.in_use(A) == 0


async def test_a_gateway_that_is_heard_keeps_its_leases() -> None:
    bench = Bench(pool_of("a"))
    await bench.granted("lease-1")

    for _ in range(5):
        bench.clock.advance(8.0)
        await bench.leases.renew(GATEWAY, now=bench.clock.now())
        assert await bench.settle.lapse() == 0


class Bench:
    """The verb with its neighbours."""

    def __init__(self, pool: Pool, ledger: ListLedger | None = None) -> None:
        self.pool = pool
        self.clock = FakeClock()
        self.leases = MemoryLeases(ttl_s=10.0)
        self.ledger = ledger or ListLedger()
        continuities = self.continuities = MemoryContinuities(self.clock)
        limits = keys_of(self.clock, pool=pool, budgets=self.leases.budgets).limits
        self.settle = SettleLeases(pool, self.leases, continuities, self.ledger, load_prices(), limits, self.clock)

    async def granted(self, lease_id: str) -> Lease:
        """A lease that the gateway holds."""
        held = lease(lease_id)
        assert await self.leases.take(held, GATEWAY, slots=8) == held
        return held

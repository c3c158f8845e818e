"""What every adapter of the Leases port must do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.ids import AccountId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease
from codex_lb.control.usecases.lease_ports import FREE, Leases, Terms
from tests.support.clock import FakeClock
from tests.support.redis_server import RedisServer, following_leases, redis_prefix, redis_server
from tests.unit.control.leases import lease

__all__ = ["redis_prefix", "redis_server"]

ONE, OTHER = ReplicaId("gateway-1"), ReplicaId("gateway-2")
A = AccountId("a")


@pytest.fixture(params=["memory", "redis"])
async def leases(
    request: pytest.FixtureRequest, clock: FakeClock, redis_server: RedisServer, redis_prefix: str
) -> AsyncIterator[Leases]:
    """The port, once per adapter; the TTL is 10 s."""
    if request.param == "memory":
        yield MemoryLeases(ttl_s=10.0)
    else:
        async with following_leases(redis_server, clock, redis_prefix) as following:
            yield following


@pytest.fixture
def clock() -> FakeClock:
    """The test's time."""
    return FakeClock()


async def taken(
    leases: Leases, wanted: Lease, owner: ReplicaId, *, slots: int, create_slots: int = 0, terms: Terms = FREE
) -> bool:
    """Whether it was taken."""
    answer = await leases.take(wanted, owner, slots=slots, create_slots=create_slots, terms=terms)
    return isinstance(answer, Lease)


async def lapsed_within(seconds: float, leases: Leases, clock: FakeClock) -> list[Lease]:
    """Time passes, and control looks for silent gateways as often as it does."""
    lapsed: list[Lease] = []
    for _ in range(4):
        clock.advance(seconds / 4)
        lapsed += await leases.lapse(now=clock.now())
    return lapsed


async def test_a_slot_is_taken_until_its_lease_ends(leases: Leases) -> None:
    assert await taken(leases, lease("1"), ONE, slots=1)
    assert not await taken(leases, lease("2"), OTHER, slots=1)

    await leases.end(LeaseId("1"), epoch=1)

    assert await taken(leases, lease("2"), OTHER, slots=1)


async def test_no_slots_means_no_limit(leases: Leases) -> None:
    assert all([await taken(leases, lease(str(i)), ONE, slots=0) for i in range(50)])


async def test_a_key_has_as_many_leases_as_it_may_at_all_gateways_and_accounts_together(leases: Leases) -> None:
    assert await taken(leases, lease("1", account_id="a", api_key_id="k"), ONE, slots=0, terms=Terms(slots=2))
    assert await taken(leases, lease("2", account_id="b", api_key_id="k"), OTHER, slots=0, terms=Terms(slots=2))
    assert not await taken(leases, lease("3", account_id="c", api_key_id="k"), ONE, slots=0, terms=Terms(slots=2))
    assert await taken(leases, lease("4", api_key_id="other"), ONE, slots=0, terms=Terms(slots=2))

    await leases.end(LeaseId("2"), epoch=1)

    assert await taken(leases, lease("5", api_key_id="k"), ONE, slots=0, terms=Terms(slots=2))
    assert (leases.held_by_key("k"), leases.held_by_key("other")) == (2, 1)


async def test_leases_that_a_gateway_announces_count_for_their_key(leases: Leases) -> None:
    await leases.reconcile(ONE, [lease("1", api_key_id="k"), lease("2", api_key_id="k")])

    assert not await taken(leases, lease("3", api_key_id="k"), OTHER, slots=0, terms=Terms(slots=2))
    await leases.reconcile(ONE, [lease("1", api_key_id="k")])
    assert await taken(leases, lease("3", api_key_id="k"), OTHER, slots=0, terms=Terms(slots=2))


async def test_a_lease_ends_once_and_only_with_its_own_fence(leases: Leases) -> None:
    await taken(leases, lease("1", epoch=7), ONE, slots=1)

    assert await leases.end(LeaseId("1"), epoch=6) is None
    assert await leases.end(LeaseId("1"), epoch=7) == lease("1", epoch=7)
    assert await leases.end(LeaseId("1"), epoch=7) is None
    assert leases.in_use(A) == 0


async def test_leases_live_while_their_gateway_is_heard_and_one_ttl_longer(leases: Leases, clock: FakeClock) -> None:
    await leases.renew(ONE, now=clock.now())
    await taken(leases, lease("1"), ONE, slots=1)
    await lapsed_within(8, leases, clock)
    await leases.renew(ONE, now=clock.now())

    assert await lapsed_within(9.9, leases, clock) == []
    assert await lapsed_within(0.1, leases, clock) == [lease("1")]
    assert (leases.held(), leases.in_use(A)) == (0, 0)


async def test_a_grant_to_a_gateway_that_is_never_heard_lapses_too(leases: Leases, clock: FakeClock) -> None:
    await taken(leases, lease("1", granted_at=clock.now()), ONE, slots=1)

    assert await lapsed_within(10, leases, clock) == [lease("1")]


async def test_a_gateway_learns_whether_it_was_known(leases: Leases, clock: FakeClock) -> None:
    assert not await leases.renew(ONE, now=clock.now())
    assert await leases.renew(ONE, now=clock.now())

    await lapsed_within(11, leases, clock)

    assert not await leases.renew(ONE, now=clock.now())


async def test_a_gateway_that_lapsed_is_unknown_still_when_its_waiting_turn_was_granted_a_slot(
    leases: Leases, clock: FakeClock
) -> None:
    await leases.renew(ONE, now=clock.now())
    await taken(leases, lease("runs on"), ONE, slots=2)
    await lapsed_within(11, leases, clock)
    await taken(leases, lease("waited", granted_at=clock.now()), ONE, slots=2)

    was_known = await leases.renew(ONE, now=clock.now())
    await leases.reconcile(ONE, [lease("runs on"), lease("waited")])

    assert not was_known
    assert (leases.in_use(A), leases.held_by(ONE)) == (2, 2)
    assert await leases.renew(ONE, now=clock.now())


async def test_an_announcement_restores_what_was_lost_whatever_the_slots(leases: Leases) -> None:
    freed = await leases.reconcile(ONE, [lease("1"), lease("2")])

    assert freed == []
    assert (leases.in_use(A), leases.held_by(ONE)) == (2, 2)
    assert not await taken(leases, lease("3"), OTHER, slots=2)


async def test_an_announcement_frees_grants_that_never_arrived_and_touches_no_other_gateway(leases: Leases) -> None:
    await taken(leases, lease("kept"), ONE, slots=0)
    await taken(leases, lease("lost on the way"), ONE, slots=0)
    await taken(leases, lease("other's"), OTHER, slots=0)

    freed = await leases.reconcile(ONE, [lease("kept")])

    assert [x.lease_id for x in freed] == ["lost on the way"]
    assert (leases.held_by(ONE), leases.held_by(OTHER)) == (1, 1)


async def test_an_announcement_repeated_changes_nothing(leases: Leases) -> None:
    for _ in range(2):
        await leases.reconcile(ONE, [lease("1")])

    assert leases.in_use(A) == 1


async def test_every_account_whose_slots_change_is_told(leases: Leases) -> None:
    told: list[AccountId] = []
    leases.on_change(told.append)

    await taken(leases, lease("1"), ONE, slots=1)
    await taken(leases, lease("2"), ONE, slots=1)
    await leases.end(LeaseId("1"), epoch=1)

    assert set(told) == {A}
    assert told


async def test_a_create_slot_is_free_again_once_upstream_begins_to_answer(leases: Leases) -> None:
    assert await taken(leases, lease("1"), ONE, slots=0, create_slots=1)
    assert not await taken(leases, lease("2"), ONE, slots=0, create_slots=1)

    await leases.begun([LeaseId("1"), LeaseId("never heard of")])

    assert (leases.creating(A), leases.in_use(A)) == (0, 1)
    assert await taken(leases, lease("2"), ONE, slots=0, create_slots=1)


async def test_a_create_slot_is_free_again_when_its_lease_ends_before(leases: Leases) -> None:
    await taken(leases, lease("1"), ONE, slots=0, create_slots=1)

    await leases.end(LeaseId("1"), epoch=1)

    assert leases.creating(A) == 0
    assert await taken(leases, lease("2"), ONE, slots=0, create_slots=1)


async def test_leases_are_counted_by_key_and_the_newest_of_an_account_is_known(leases: Leases) -> None:
    await taken(leases, lease("1", epoch=7), ONE, slots=0)
    await taken(leases, lease("2", epoch=9), ONE, slots=0)
    await leases.end(LeaseId("2"), epoch=9)

    assert (leases.held_by_key(""), leases.held_by_key("other")) == (1, 0)
    assert leases.last_granted(A) == 9

"""What every lease table and its Budgets port must do together: all limits or none, each lease once, nothing by guess."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

import pytest
from msgspec import structs

from codex_lb.control.coordination.memory import MemoryLeases
from codex_lb.control.domain.ids import ApiKeyId, LeaseId, ReplicaId
from codex_lb.control.domain.lease import Lease, ReservedAmount
from codex_lb.control.domain.limit import Amounts, Limit, LimitUnit, LimitWindow
from codex_lb.control.domain.spending import Spent
from codex_lb.control.usecases.lease_ports import (
    Ending,
    Leases,
    NoSlot,
    Outdated,
    Shortfall,
    Taking,
    Terms,
    Uncounted,
)
from codex_lb.control.usecases.limit_ports import Budgets, BudgetUse, KeyUse, Reserving
from tests.support.clock import NOON, FakeClock
from tests.support.redis_server import RedisServer, following_leases, redis_prefix, redis_server
from tests.unit.control.leases import lease

__all__ = ["redis_prefix", "redis_server"]

KEY = ApiKeyId("key")
ONE, OTHER = ReplicaId("gateway-1"), ReplicaId("gateway-2")
TOKENS = Limit("tokens", LimitUnit.TOTAL_TOKENS, LimitWindow.DAY, "", 100, NOON)
INPUT = Limit("input", LimitUnit.INPUT_TOKENS, LimitWindow.DAY, "", 100, NOON)
DAY_S = 86_400.0
UNRECORDED_S = 11.0  # after which what lapsed is told again


@dataclass
class Desk:
    """Both ports, and the few words that tests need."""

    leases: Leases
    budgets: Budgets
    clock: FakeClock

    async def count(self, *limits: Limit, used: int = 0) -> bool:
        """Sets what is used, as somebody who has asked the ledger."""
        known = await self.budgets.known(KEY, limits, now=self.clock.now())
        amounts = {limit.limit_id: used for limit in limits}
        return await self.budgets.put(KEY, amounts, known.since, version=known.version)

    async def take(self, name: str, *wanted: tuple[Limit, int], **terms: int) -> Taking:
        """Asks for a lease that may use so much of each limit."""
        asked = lease(name, granted_at=self.clock.now(), api_key_id=KEY)
        reserving = tuple(Reserving(limit, amount) for limit, amount in wanted)
        return await self.leases.take(asked, ONE, slots=0, terms=Terms(reserving=reserving, **terms))

    async def taken(self, name: str, *wanted: tuple[Limit, int]) -> Lease:
        """A lease that there is room for."""
        answer = await self.take(name, *wanted)
        assert isinstance(answer, Lease), answer
        return answer

    async def settle(self, held: Lease, *limits: Limit, used: int, is_final: bool = True) -> Sequence[KeyUse]:
        """It ends, and used so many tokens, all of them input."""
        spent = Spent(KEY, "gpt-5.5", held.granted_at, Amounts(0, used, 0, used, 0), is_final=is_final)
        ending = Ending(held, is_final, spent, limits or (TOKENS,))
        return await self.leases.settle([ending], now=self.clock.now())

    async def recorded(self, held: Lease, *, is_final: bool = True) -> None:
        """The ledger has it."""
        await self.leases.recorded([(held.lease_id, is_final)], now=self.clock.now())

    async def use(self, limit: Limit = TOKENS) -> BudgetUse | None:
        """How a limit stands."""
        [use] = await self.budgets.use_of([(KEY, [limit])], now=self.clock.now())
        return use.limits[limit.limit_id]

    async def known(self) -> tuple[Collection[LeaseId], Collection[LeaseId]]:
        """The leases that have ended, and those that are held, by what the counters know."""
        known = await self.budgets.known(KEY, [TOKENS], now=self.clock.now())
        return set(known.ended), set(known.held)

    async def lapse(self, seconds: float) -> list[Lease]:
        """Time passes, and somebody looks for silent gateways."""
        lapsed: list[Lease] = []
        for _ in range(4):
            self.clock.advance(seconds / 4)
            lapsed += await self.leases.lapse(now=self.clock.now())
        return lapsed


@pytest.fixture(params=["memory", "redis"])
async def desk(request: pytest.FixtureRequest, redis_server: RedisServer, redis_prefix: str) -> AsyncIterator[Desk]:
    """The ports, once per adapter, with two limits on which nothing is used; leases live 10 s."""
    clock = FakeClock()
    if request.param == "memory":
        memory = MemoryLeases(ttl_s=10.0)
        desk = Desk(memory, memory.budgets, clock)
        await desk.count(TOKENS, INPUT)
        yield desk
    else:
        async with following_leases(redis_server, clock, redis_prefix) as leases:
            desk = Desk(leases, leases.budgets, clock)
            await desk.count(TOKENS, INPUT)
            yield desk


async def test_all_limits_are_reserved_or_none(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60), (INPUT, 10))

    shortfall = await desk.take("2", (INPUT, 10), (TOKENS, 60))

    assert held.reservation == (ReservedAmount("tokens", 60, NOON), ReservedAmount("input", 10, NOON))
    assert shortfall == Shortfall("tokens", BudgetUse(0, 60))
    assert await desk.use(INPUT) == BudgetUse(0, 10)


async def test_nothing_is_reserved_without_a_slot(desk: Desk) -> None:
    await desk.taken("1", (TOKENS, 10))

    refused = await desk.take("2", (TOKENS, 10), slots=1)

    assert refused == NoSlot()
    assert await desk.use() == BudgetUse(0, 10)


async def test_what_is_left_goes_to_one_turn_at_a_time_however_small_it_is(desk: Desk) -> None:
    await desk.count(TOKENS, used=99)

    first = await desk.taken("1", (TOKENS, 50))
    assert await desk.take("2", (TOKENS, 50)) == Shortfall("tokens", BudgetUse(99, 50))
    await desk.settle(first, used=1)
    assert await desk.take("2", (TOKENS, 50)) == Shortfall("tokens", BudgetUse(100, 0))


async def test_a_hundred_turns_at_once_get_what_there_is_room_for(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.take(str(n), (TOKENS, 10)) for n in range(100)))

    assert sum(isinstance(answer, Lease) for answer in answers) == 10


async def test_a_lease_under_which_nothing_was_done_gives_back_what_it_reserved(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60))

    await desk.leases.end(held.lease_id, epoch=held.epoch)

    assert await desk.use() == BudgetUse(0, 0)
    assert await desk.known() == (set(), set())


async def test_a_settlement_puts_the_truth_in_the_place_of_the_reservation_once_and_says_how_the_key_stands(
    desk: Desk,
) -> None:
    held = await desk.taken("1", (TOKENS, 60))

    [after] = await desk.settle(held, used=7)
    [again] = await desk.settle(held, used=7)
    await desk.recorded(held)
    [late] = await desk.settle(held, used=7)

    assert after.limits == again.limits == late.limits == {"tokens": BudgetUse(7, 0)}
    assert (after.api_key_id, after.version <= again.version <= late.version) == (KEY, True)


async def test_the_end_of_another_grant_of_the_same_id_ends_nothing(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60))

    await desk.settle(structs.replace(held, epoch=held.epoch + 1), used=7)

    assert await desk.use() == BudgetUse(0, 60)


async def test_a_limit_that_nobody_has_counted_grants_nothing_until_somebody_has(desk: Desk) -> None:
    new = replace(TOKENS, limit_id="new")

    refused = await desk.take("1", (TOKENS, 10), (new, 10))
    before = await desk.use(new)
    await desk.count(new, used=40)

    assert (refused, before) == (Uncounted(), None)
    assert await desk.take("2", (new, 60)) == lease_like(await desk.take("3", (TOKENS, 10)), "2", new, 60)
    assert await desk.use(new) == BudgetUse(40, 60)


def lease_like(other: Taking, name: str, limit: Limit, amount: int) -> Lease:
    """The same lease under another name and with another reservation."""
    assert isinstance(other, Lease)
    reservation = (ReservedAmount(limit.limit_id, amount, NOON),)
    return structs.replace(other, lease_id=LeaseId(name), turn_id=lease(name).turn_id, reservation=reservation)


async def test_a_count_is_not_taken_when_a_turn_ended_since_it_began(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60))
    known = await desk.budgets.known(KEY, [TOKENS], now=desk.clock.now())

    await desk.settle(held, used=7)
    is_taken = await desk.budgets.put(KEY, {"tokens": 0}, known.since, version=known.version)

    assert not is_taken
    assert await desk.use() == BudgetUse(7, 0)


async def test_leases_are_known_from_their_grant_until_a_while_after_the_ledger_has_them(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60))
    granted = await desk.known()
    await desk.settle(held, used=7)
    settled = await desk.known()
    await desk.recorded(held)
    recorded = await desk.known()
    desk.clock.advance(30)
    other = await desk.taken("2")
    await desk.settle(other, used=1)
    await desk.recorded(other)

    assert (granted, settled, recorded) == ((set(), {"1"}), ({"1"}, set()), ({"1"}, set()))
    assert await desk.known() == ({"2"}, set())
    assert await desk.use() == BudgetUse(8, 0)


async def test_what_ends_and_was_never_heard_of_has_the_limit_counted_anew(desk: Desk) -> None:
    """It may be lost from the counters, or be in the ledger already."""
    unheard = lease("unheard", granted_at=NOON, api_key_id=KEY)

    [after] = await desk.settle(unheard, used=7)

    assert after.limits == {"tokens": None}
    assert await desk.known() == ({"unheard"}, set())
    assert await desk.take("1", (TOKENS, 1)) == Uncounted()


async def test_a_new_window_begins_with_nothing_and_the_old_one_charges_it_nothing(desk: Desk) -> None:
    old, older = await desk.taken("1", (TOKENS, 60)), await desk.taken("2", (TOKENS, 10))
    await desk.settle(older, used=30)

    desk.clock.advance(DAY_S)
    rolled = await desk.use()
    new = await desk.taken("3", (TOKENS, 100))
    await desk.settle(old, used=60)

    assert (rolled, await desk.use()) == (BudgetUse(0, 0), BudgetUse(0, 100))
    assert new.reservation[0].window_started_at == NOON + timedelta(days=1)


async def test_a_lease_is_granted_inside_the_window_that_it_is_reserved_in_whatever_the_callers_clock_says(
    desk: Desk,
) -> None:
    desk.clock.advance(DAY_S)
    await desk.use()
    early = lease("early", granted_at=NOON + timedelta(hours=23), api_key_id=KEY)

    held = await desk.leases.take(early, ONE, slots=0, terms=Terms(reserving=(Reserving(TOKENS, 10),)))

    assert isinstance(held, Lease)
    assert held.granted_at == held.reservation[0].window_started_at == NOON + timedelta(days=1)


async def test_a_reset_begins_the_count_anew_from_the_ledger(desk: Desk) -> None:
    """Turns may have ended between the instant of the reset and the moment in which it is heard of."""
    held = await desk.taken("1", (TOKENS, 60))
    desk.clock.advance(5)
    reset = replace(TOKENS, reset_at=desk.clock.now())

    before = await desk.use(reset)
    await desk.count(reset)
    await desk.settle(held, reset, used=60)

    assert (before, await desk.use(reset)) == (None, BudgetUse(0, 0))
    assert isinstance(await desk.take("2", (TOKENS, 100)), Lease), "whoever has not heard of it counts from it too"
    assert await desk.use(reset) == BudgetUse(0, 100)


async def test_what_a_vanished_gateway_held_stays_reserved_until_it_is_settled_and_the_truth_replaces_the_guess(
    desk: Desk,
) -> None:
    held = await desk.taken("1", (TOKENS, 60))

    assert await desk.lapse(10) == [held]
    lapsed = await desk.use()
    await desk.settle(held, used=60, is_final=False)
    guessed = await desk.use()
    await desk.settle(held, used=7)
    await desk.settle(held, used=60, is_final=False)
    await desk.recorded(held, is_final=False)

    assert (lapsed, guessed, await desk.use()) == (BudgetUse(0, 60), BudgetUse(60, 0), BudgetUse(7, 0))


async def test_a_guess_that_the_ledger_has_is_counted_by_the_ledger(desk: Desk) -> None:
    """Which may know the truth, and have refused the guess."""
    held = await desk.taken("1", (TOKENS, 60))
    await desk.lapse(10)

    await desk.settle(held, used=60, is_final=False)
    await desk.recorded(held, is_final=False)

    assert await desk.use() is None
    assert await desk.known() == (set(), set())


async def test_what_lapsed_is_told_again_when_nobody_has_recorded_it(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60))
    await desk.lapse(10)

    again = await desk.lapse(UNRECORDED_S)
    await desk.settle(held, used=60, is_final=False)
    once_more = await desk.lapse(UNRECORDED_S)
    await desk.recorded(held, is_final=False)

    assert (again, once_more) == ([held], [held])
    assert await desk.lapse(UNRECORDED_S) == []


async def test_what_a_gateway_announces_is_reserved_once_and_counted_anew_and_not_after_its_end(desk: Desk) -> None:
    held = structs.replace(
        lease("1", granted_at=NOON, api_key_id=KEY), reservation=(ReservedAmount("tokens", 500, NOON),)
    )

    for _ in range(2):
        await desk.leases.reconcile(ONE, [held])
    announced = await desk.use()
    await desk.count(TOKENS)
    counted = await desk.use()
    await desk.settle(held, used=5)
    await desk.leases.reconcile(ONE, [held])

    assert (announced, counted, await desk.use()) == (None, BudgetUse(0, 500), BudgetUse(5, 0))


async def test_a_gateway_that_was_taken_for_gone_gets_its_reservation_back_in_the_place_of_the_guess(
    desk: Desk,
) -> None:
    held = await desk.taken("1", (TOKENS, 60))
    await desk.lapse(10)
    await desk.settle(held, used=60, is_final=False)

    await desk.leases.reconcile(ONE, [held])
    await desk.count(TOKENS)
    back = await desk.use()
    await desk.settle(held, used=7)

    assert (back, await desk.use()) == (BudgetUse(0, 60), BudgetUse(7, 0))


async def test_what_a_gateway_does_not_announce_keeps_its_reservation_for_a_while_then_the_ledger_is_asked(
    desk: Desk,
) -> None:
    await desk.leases.renew(ONE, now=desk.clock.now())
    await desk.taken("lost", (TOKENS, 60))
    settling = await desk.taken("settling", (TOKENS, 10))

    await desk.leases.reconcile(ONE, [])
    missed = await desk.use()
    await desk.settle(settling, used=3)
    settled = await desk.use()
    await desk.lapse(8)

    assert (missed, settled, await desk.use()) == (BudgetUse(0, 70), BudgetUse(3, 60), None)
    assert await desk.known() == ({"settling"}, set())


async def test_a_limit_that_is_gone_is_forgotten(desk: Desk) -> None:
    held = await desk.taken("1", (TOKENS, 60))

    await desk.budgets.forget(KEY, ["tokens"])
    await desk.leases.end(held.lease_id, epoch=held.epoch)

    assert await desk.use() is None
    await desk.count(TOKENS)
    assert await desk.use() == BudgetUse(0, 0)


async def test_keys_are_asked_about_together(desk: Desk) -> None:
    await desk.taken("1", (TOKENS, 60))

    asked = [(KEY, [TOKENS, INPUT]), (ApiKeyId("bare"), []), (KEY, [INPUT])]
    uses = await desk.budgets.use_of(asked, now=desk.clock.now())

    assert [(use.api_key_id, dict(use.limits)) for use in uses] == [
        (KEY, {"tokens": BudgetUse(0, 60), "input": BudgetUse(0, 0)}),
        ("bare", {}),
        (KEY, {"input": BudgetUse(0, 0)}),
    ]


async def test_whoever_believes_in_an_older_key_is_told(redis_server: RedisServer, redis_prefix: str) -> None:
    """Only several controls can disagree."""
    clock = FakeClock()
    async with (
        following_leases(redis_server, clock, redis_prefix) as one,
        following_leases(redis_server, clock, redis_prefix) as other,
    ):
        numbers = count(1)

        async def ask(revision: int) -> Taking:
            asked = lease(str(next(numbers)), granted_at=NOON, api_key_id=KEY)
            return await other.take(asked, ONE, slots=0, terms=Terms(revision=revision))

        await one.budgets.changed(KEY, 3, [])
        await one.budgets.changed(KEY, 2, [])

        assert await ask(2) == Outdated()
        assert isinstance(await ask(3), Lease)
        assert isinstance(await ask(4), Lease)

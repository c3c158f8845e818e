"""What every adapter of the Budgets port must do; a model that counts by hand says what is right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex_lb.control.coordination.budgets import MemoryBudgets
from codex_lb.control.domain.ids import ApiKeyId, LeaseId
from codex_lb.control.domain.lease import ReservedAmount
from codex_lb.control.domain.limit import Amounts
from codex_lb.control.domain.spending import Spent
from codex_lb.control.usecases.limit_ports import Budgets, BudgetUse, Charge, Reserving, Shortfall
from tests.support.clock import NOON

MAKERS: list[Callable[[], Budgets]] = [MemoryBudgets]
LATER = NOON + timedelta(days=1)
KEY = ApiKeyId("key")
ONE, TWO = LeaseId("1"), LeaseId("2")


@pytest.fixture(params=MAKERS, ids=["memory"])
def budgets(request: pytest.FixtureRequest) -> Budgets:
    """The port, once per adapter."""
    make: Callable[[], Budgets] = request.param
    return make()


def reserving(limit_id: str, amount: int, amount_max: int = 100, *, later: bool = False) -> Reserving:
    return Reserving(limit_id, LATER if later else NOON, amount, amount_max)


def spent(*, is_final: bool = True) -> Spent:
    return Spent(KEY, "gpt-5.5", NOON, Amounts(1), is_final=is_final)


async def test_all_limits_are_reserved_or_none(budgets: Budgets) -> None:
    await budgets.reserve(ONE, [reserving("a", 60), reserving("b", 10)])

    shortfall = await budgets.reserve(TWO, [reserving("b", 10), reserving("a", 60)])

    assert shortfall == Shortfall("a", BudgetUse(0, 60))
    assert await budgets.use_of("b", since=NOON) == BudgetUse(0, 10)


async def test_what_is_left_goes_to_one_turn_at_a_time_however_small_it_is(budgets: Budgets) -> None:
    await budgets.put("a", since=NOON, used=99)

    assert await budgets.reserve(ONE, [reserving("a", 50)]) is None
    assert await budgets.reserve(TWO, [reserving("a", 50)]) == Shortfall("a", BudgetUse(99, 50))
    await budgets.settle(ONE, spent(), [Charge("a", NOON, 1)])
    assert await budgets.reserve(TWO, [reserving("a", 50)]) == Shortfall("a", BudgetUse(100, 0))


async def test_a_settlement_that_comes_again_counts_once(budgets: Budgets) -> None:
    await budgets.reserve(ONE, [reserving("a", 60)])

    assert await budgets.settle(ONE, spent(), [Charge("a", NOON, 7)])
    assert not await budgets.settle(ONE, spent(), [Charge("a", NOON, 7)])

    assert await budgets.use_of("a", since=NOON) == BudgetUse(7, 0)


async def test_the_truth_replaces_a_guess_and_no_guess_replaces_the_truth(budgets: Budgets) -> None:
    await budgets.settle(ONE, spent(is_final=False), [Charge("a", NOON, 60)])
    await budgets.settle(ONE, spent(), [Charge("a", NOON, 7)])
    await budgets.settle(ONE, spent(is_final=False), [Charge("a", NOON, 60)])

    assert await budgets.use_of("a", since=NOON) == BudgetUse(7, 0)


async def test_a_new_window_begins_with_nothing_and_the_old_one_charges_it_nothing(budgets: Budgets) -> None:
    await budgets.reserve(ONE, [reserving("a", 60)])
    await budgets.settle(TWO, spent(), [Charge("a", NOON, 30)])

    assert await budgets.use_of("a", since=LATER) == BudgetUse(0, 0)
    assert await budgets.reserve(LeaseId("3"), [reserving("a", 100, later=True)]) is None
    await budgets.settle(ONE, spent(), [Charge("a", NOON, 60)])

    assert await budgets.use_of("a", since=LATER) == BudgetUse(0, 100)


async def test_what_a_gateway_announces_is_reserved_once_and_not_after_its_end(budgets: Budgets) -> None:
    held = [ReservedAmount("a", 500, NOON)]

    await budgets.restore(ONE, held)
    await budgets.restore(ONE, held)
    assert await budgets.use_of("a", since=NOON) == BudgetUse(0, 500)

    await budgets.settle(ONE, spent(), [Charge("a", NOON, 5)])
    await budgets.restore(ONE, held)
    assert await budgets.use_of("a", since=NOON) == BudgetUse(5, 0)


async def test_leases_are_pending_until_the_ledger_has_them(budgets: Budgets) -> None:
    await budgets.settle(ONE, spent(), [])
    await budgets.settle(TWO, spent(), [])

    before = await budgets.pending(KEY)
    await budgets.stored([ONE])
    after = await budgets.pending(KEY)

    assert (list(before.leases), list(after.leases)) == ([ONE, TWO], [TWO])
    assert before.version == after.version
    assert not (await budgets.pending(ApiKeyId("other"))).leases


async def test_what_an_earlier_control_has_counted_is_not_counted_again(budgets: Budgets) -> None:
    await budgets.put("a", since=NOON, used=37)
    await budgets.remember(
        {
            ONE: (spent(), [Charge("a", NOON, 30)]),
            TWO: (spent(is_final=False), [Charge("a", NOON, 7)]),
        }
    )

    await budgets.settle(ONE, spent(), [Charge("a", NOON, 30)])
    await budgets.settle(TWO, spent(), [Charge("a", NOON, 2)])

    assert await budgets.use_of("a", since=NOON) == BudgetUse(32, 0)


async def test_a_limit_that_is_gone_is_forgotten(budgets: Budgets) -> None:
    await budgets.reserve(ONE, [reserving("a", 60)])

    await budgets.forget(["a"])
    await budgets.release(ONE)

    assert await budgets.use_of("a", since=NOON) == BudgetUse(0, 0)


@dataclass
class Model:
    """Counts by hand, from all that ever happened."""

    reserved: dict[LeaseId, dict[str, int]] = field(default_factory=dict)
    used: dict[LeaseId, tuple[dict[str, int], bool]] = field(default_factory=dict)

    def use_of(self, limit_id: str) -> BudgetUse:
        """From the beginning."""
        return BudgetUse(
            sum(charges.get(limit_id, 0) for charges, _ in self.used.values()),
            sum(amounts.get(limit_id, 0) for amounts in self.reserved.values()),
        )

    def settle(self, lease_id: LeaseId, charges: dict[str, int], *, is_final: bool) -> None:
        """Once, and by the truth where it comes."""
        if lease_id in self.used and (self.used[lease_id][1] or not is_final):
            return
        self.reserved.pop(lease_id, None)
        self.used[lease_id] = charges, is_final


LEASES = st.sampled_from([LeaseId(str(n)) for n in range(5)])
AMOUNTS = st.dictionaries(st.sampled_from("ab"), st.integers(0, 60), min_size=1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), LEASES, AMOUNTS, st.just(True)),
        st.tuples(st.just("restore"), LEASES, AMOUNTS, st.just(True)),
        st.tuples(st.just("release"), LEASES, st.just({}), st.just(True)),
        st.tuples(st.just("settle"), LEASES, AMOUNTS, st.booleans()),
    ),
    max_size=30,
)


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_in_whatever_order_the_count_is_that_of_the_model(
    make: Callable[[], Budgets], steps: list[tuple[str, LeaseId, dict[str, int], bool]]
) -> None:
    async def play() -> None:
        budgets, model = make(), Model()
        for verb, lease_id, amounts, is_final in steps:
            is_known = lease_id in model.reserved or lease_id in model.used
            match verb:
                case "reserve" if not is_known:  # the id of a lease is given once
                    wanted = [reserving(name, amount) for name, amount in amounts.items()]
                    if await budgets.reserve(lease_id, wanted) is None:
                        model.reserved[lease_id] = amounts
                case "restore":
                    await budgets.restore(lease_id, [ReservedAmount(n, a, NOON) for n, a in amounts.items()])
                    if not is_known:
                        model.reserved[lease_id] = amounts
                case "release":
                    await budgets.release(lease_id)
                    model.reserved.pop(lease_id, None)
                case "settle":
                    charges = [Charge(name, NOON, amount) for name, amount in amounts.items()]
                    await budgets.settle(lease_id, spent(is_final=is_final), charges)
                    model.settle(lease_id, amounts, is_final=is_final)
            for limit_id in "ab":
                assert await budgets.use_of(limit_id, since=NOON) == model.use_of(limit_id)

    asyncio.run(play())


async def test_a_hundred_turns_at_once_get_what_there_is_room_for(budgets: Budgets) -> None:
    answers = await asyncio.gather(*(budgets.reserve(LeaseId(str(n)), [reserving("a", 10)]) for n in range(100)))

    assert sum(answer is None for answer in answers) == 10

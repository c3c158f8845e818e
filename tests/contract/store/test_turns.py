"""What was spent is written once, and the truth outranks a guess."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from codex_lb.control.domain.ids import TurnId
from codex_lb.control.domain.lease import Anchor, AnchorKind, Decision, Outcome, Settlement
from codex_lb.control.errors import UnstorableError
from codex_lb.control.store.database import Database
from codex_lb.control.store.repositories.turns import ANCHOR_ROWS_MAX
from tests.contract.store.examples import NOON, report, settlement, with_unstorable_usage


async def record(store: Database, *settlements: Settlement) -> int:
    """In a transaction of its own."""
    async with store.begin(writing=True) as unit:
        return await unit.turns.record(settlements, [])


async def stored(store: Database, settled: Settlement) -> list[Settlement]:
    """What the turn of a settlement now has."""
    async with store.begin(writing=False) as unit:
        return await unit.turns.attempts(settled.lease.turn_id)


async def test_what_is_repeated_is_written_once(store: Database) -> None:
    settled, reported = settlement("l"), report("t")

    async with store.begin(writing=True) as unit:
        first = await unit.turns.record([settled, settled], [reported, reported])
        again = await unit.turns.record([replace(settled, calls=7)], [replace(reported, status=500)])

    assert (first, again) == (2, 0)
    assert await stored(store, settled) == [settled]
    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(TurnId("t")) == reported


async def test_the_truth_replaces_what_was_thought_abandoned(store: Database) -> None:
    guess, truth = settlement("l", outcome=Outcome.ABANDONED), settlement("l")

    written = [await record(store, settled) for settled in (guess, guess, truth, guess)]

    assert written == [1, 0, 1, 0]
    assert await stored(store, truth) == [truth]


async def test_the_truth_replaces_the_guess_that_comes_in_the_same_batch(store: Database) -> None:
    guess, truth = settlement("l", outcome=Outcome.ABANDONED), settlement("l")

    written = await record(store, guess, truth, guess)

    assert written == 1
    assert await stored(store, truth) == [truth]


async def test_the_truth_of_another_epoch_replaces_nothing(store: Database) -> None:
    guess = settlement("l", epoch=2, outcome=Outcome.ABANDONED)
    await record(store, guess)

    written = await record(store, settlement("l", epoch=1))

    assert written == 0
    assert await stored(store, guess) == [guess]


async def test_a_turn_thought_abandoned_gets_its_true_line(store: Database) -> None:
    guess, truth = report("t", outcome=Outcome.ABANDONED), report("t")

    async with store.begin(writing=True) as unit:
        written = [await unit.turns.record([], [guess]), await unit.turns.record([], [truth])]
        assert await unit.turns.report(TurnId("t")) == truth

    assert written == [1, 1]


async def test_a_batch_larger_than_a_statement_is_counted_in_full(store: Database) -> None:
    settlements = [settlement(f"l{number}") for number in range(120)]

    written = [await record(store, *settlements), await record(store, *settlements, settlement("one more"))]

    assert written == [120, 1]


async def test_the_attempts_of_a_turn_come_in_order(store: Database) -> None:
    first = settlement("l1")
    second = replace(first, lease=replace(first.lease, lease_id=settlement("l2").lease.lease_id, attempt=2))

    await record(store, second, first)

    assert await stored(store, first) == [first, second]


async def test_a_nul_in_a_clients_text_does_not_cost_the_row(store: Database) -> None:
    reported = report("t")

    async with store.begin(writing=True) as unit:
        await unit.turns.record([], [replace(reported, requested_model="gpt\0")])

    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(TurnId("t")) == replace(reported, requested_model="gpt\ufffd")


async def test_a_number_no_column_holds_is_refused_for_good(store: Database) -> None:
    with pytest.raises(UnstorableError):
        await record(store, with_unstorable_usage(settlement("l")))


async def test_why_a_turn_was_refused_a_lease_is_kept_with_its_line(store: Database) -> None:
    refused = replace(report("t"), decision=Decision("round_robin", "", 2, 0, (), {"paused": 2}, 1.5, 3))

    async with store.begin(writing=True) as unit:
        await unit.turns.record([], [refused])

    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(TurnId("t")) == refused


async def test_the_newest_leases_of_a_period_come_in_the_order_in_which_they_were_granted(store: Database) -> None:
    for minute in (3, 1, 2, 0):
        granted = settlement(f"l{minute}")
        at = NOON + timedelta(minutes=minute)
        await record(store, replace(granted, lease=replace(granted.lease, granted_at=at)))

    async with store.begin(writing=False) as unit:
        leases, total = await unit.turns.granted(since=NOON, until=NOON + timedelta(minutes=3), leases_max=2)

    assert [lease.granted_at for lease in leases] == [NOON + timedelta(minutes=minute) for minute in (1, 2)]
    assert leases[0].decision == settlement("l1").lease.decision
    assert total == 3


async def test_whose_anchors_were_whose_is_recalled_in_the_order_of_time_however_many_there_are(
    store: Database,
) -> None:
    given = [
        replace(
            settlement(f"l{number:05}"),
            ended_at=NOON + timedelta(seconds=number // 2),  # two of a moment
            anchors=(Anchor(AnchorKind.REASONING, f"{number:032}".encode()),) if number % 3 else (),
        )
        for number in range(ANCHOR_ROWS_MAX * 2)
    ]
    for start in range(0, len(given), 1000):
        await record(store, *given[start : start + 1000])

    async with store.begin(writing=False) as unit:
        recalled = await unit.turns.anchors(since=NOON + timedelta(seconds=1))

    wanted = [(one.lease.account_id, one.anchors) for one in given[2:] if one.anchors]
    assert [(account_id, tuple(anchors)) for account_id, anchors in recalled] == wanted

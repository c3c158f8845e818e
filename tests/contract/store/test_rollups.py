"""Sums say exactly what the lines say, whatever is repeated, guessed, corrected or deleted."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import anyio
from msgspec.structs import replace
from sqlalchemy import select

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Outcome, Timings, TurnReport, Usage
from codex_lb.control.domain.report import Facet, Only, added, split
from codex_lb.control.domain.rollup import Sums, cell_of, hour_of, sums_of
from codex_lb.control.store.database import Database
from codex_lb.control.store.repositories.turn_rows import report_of
from codex_lb.control.store.tables import turns
from codex_lb.control.store.transaction import Transaction
from tests.contract.store.examples import NOON, add_account, report

MONTH = range(hour_of(NOON) - 1, hour_of(NOON) + 30 * 24)
EVERYTHING = Only()


async def test_sums_are_those_of_the_lines_after_every_mixture_of_news_repeats_and_corrections(store: Database) -> None:
    draw = random.Random(7)

    for _ in range(12):
        batch = [any_line(draw) for _ in range(draw.randrange(1, 40))]
        async with store.begin(writing=True) as unit:
            await unit.turns.record([], batch)

    lines = await all_lines(store)
    assert {line.outcome for line in lines} == set(Outcome)
    await agrees(store, lines)


async def test_a_guess_that_the_truth_replaces_leaves_no_trace_in_the_sums(store: Database) -> None:
    guess = replace(report("t", outcome=Outcome.ABANDONED), usage=None, cost_micro_usd=None)
    truth = replace(report("t"), started_at=NOON - timedelta(hours=30), api_key_id="key", cost_micro_usd=77)
    await record(store, guess)
    assert (await totals(store))[hour_of(NOON)].failed == 1

    await record(store, truth)
    await record(store, guess, truth)

    await agrees(store, [truth])
    assert added((await totals(store)).values()) == sums_of(truth)


async def test_whoever_writes_the_same_lines_at_the_same_time_adds_them_once(store: Database) -> None:
    lines = [replace(report(f"t{n}"), cost_micro_usd=n) for n in range(60)]
    guesses = [replace(line, outcome=Outcome.ABANDONED, usage=None, cost_micro_usd=None) for line in lines[:30]]
    await record(store, *guesses)

    async with anyio.create_task_group() as replicas:
        for _ in range(4):
            replicas.start_soon(record, store, *lines)

    await agrees(store, lines)


async def test_an_account_deleted_with_its_history_leaves_the_sums(store: Database) -> None:
    account = await add_account(store, "a")
    kept = [replace(report("kept"), account_id="other"), replace(report("nobody"), account_id="")]
    await record(store, replace(report("gone"), account_id=account.account_id, cost_micro_usd=9), *kept)

    async with store.begin(writing=True) as unit:
        await unit.accounts.delete(AccountId(account.account_id), with_history=True)

    await agrees(store, kept)


async def test_a_line_that_claims_the_impossible_spoils_no_sum(store: Database) -> None:
    absurd = Usage(2**60, 2**60, 2**60, 2**60, 2**60)
    lines = [replace(report(f"t{n}"), usage=absurd, timings=Timings(total_s=1e300)) for n in range(20)]

    await record(store, *lines)

    sums = added((await totals(store)).values())
    assert (sums.turns, sums.input_tokens, sums.unpriced_turns) == (20, 0, 20)


async def test_sums_can_be_had_of_some_accounts_keys_and_models(store: Database) -> None:
    one = replace(report("1"), account_id="a", api_key_id="k", model="m")
    two = replace(report("2"), account_id="b", api_key_id="k", model="n")
    await record(store, one, two)

    async with store.begin(writing=False) as unit:
        read = unit.rollups
        of_a = await read.per_name(MONTH, Only(account_ids=("a",)), Facet.MODEL)
        of_k = await read.per_hour(MONTH, Only(api_key_ids=("k",), models=("n", "x")))
        nothing = await read.per_name(range(0), EVERYTHING, Facet.MODEL)

    assert of_a == {"m": sums_of(one)}
    assert of_k == {hour_of(NOON): sums_of(two)}
    assert nothing == {}


def any_line(draw: random.Random) -> TurnReport:
    """A line out of few turns, so that they meet again."""
    used = draw.choice([None, Usage(draw.randrange(10_000), draw.randrange(100), draw.randrange(1_000), 3, 0)])
    return replace(
        report(f"t{draw.randrange(60)}", outcome=draw.choice([*Outcome, Outcome.ABANDONED, Outcome.ABANDONED])),
        started_at=NOON + timedelta(hours=draw.randrange(100)),
        account_id=draw.choice(["", "a", "b"]),
        api_key_id=draw.choice(["", "k"]),
        model=draw.choice(["m", "n"]),
        lease_id=draw.choice(["", "lease"]),
        usage=used,
        cost_micro_usd=draw.choice([None, draw.randrange(10**6)]) if used else None,
        timings=Timings(first_output_s=draw.choice([None, draw.random()]), total_s=draw.random()),
    )


async def record(store: Database, *lines: TurnReport) -> None:
    """In a transaction of its own."""
    async with store.begin(writing=True) as unit:
        await unit.turns.record([], lines)


async def all_lines(store: Database) -> list[TurnReport]:
    """What the log holds."""
    transaction = Transaction(store._reading, is_writing=False)
    await transaction.begin()
    try:
        return [report_of(row) for row in (await transaction.run(select(turns))).mappings()]
    finally:
        await transaction.end(commit=False)


async def totals(store: Database) -> dict[int, Sums]:
    """Of the whole pool, per hour in which there is anything."""
    async with store.begin(writing=False) as unit:
        per_hour = await unit.rollups.per_hour(range(MONTH.start - 100, MONTH.stop), EVERYTHING)
    return {hour: sums for hour, sums in per_hour.items() if sums != Sums()}


async def agrees(store: Database, lines: Sequence[TurnReport]) -> None:
    """Every way to ask gives the sums of these lines."""
    hours = range(MONTH.start - 100, MONTH.stop)
    per_hour: dict[int, Sums] = defaultdict(Sums)
    per_name: dict[tuple[Facet, str], Sums] = defaultdict(Sums)
    per_day: dict[tuple[Facet, str, int], Sums] = defaultdict(Sums)
    for line in lines:
        cell = cell_of(line)
        per_hour[cell.hour] += sums_of(line)
        for facet in Facet:
            name = getattr(cell, facet.value)
            per_name[facet, name] += sums_of(line)
            per_day[facet, name, cell.hour // 24] += sums_of(line)

    assert await totals(store) == per_hour
    async with store.begin(writing=False) as unit:
        for facet in Facet:
            told = await unit.rollups.per_name(hours, EVERYTHING, facet)
            assert {(facet, name): sums for name, sums in told.items() if sums != Sums()} == {
                key: sums for key, sums in per_name.items() if key[0] is facet
            }
            days = await unit.rollups.per_day(range(hours.start // 24, hours.stop // 24 + 1), EVERYTHING, facet)
            assert {(facet, *key): sums for key, sums in days.items() if sums != Sums()} == {
                key: sums for key, sums in per_day.items() if key[0] is facet
            }
    assert split(hours).days, "days and hours were both asked"

"""The request log in pages: newest first, complete, however rare what is looked for; and its retention."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from codex_lb.control.domain.ids import TurnId
from codex_lb.control.domain.lease import Blame, Fault, Outcome, TurnReport
from codex_lb.control.domain.report import Asked, Only, Place
from codex_lb.control.domain.rollup import hour_of
from codex_lb.control.store.database import Database
from codex_lb.control.store.repositories import request_log
from tests.contract.store.examples import NOON, report, settlement

LIMIT = Fault("usage_limit_reached", Blame.ACCOUNT, 429, "The usage limit has been reached")


async def test_pages_give_every_line_once_newest_first_also_those_of_one_instant(store: Database) -> None:
    lines = [line(n, minutes=n // 3) for n in range(10)]
    await record(store, *lines)

    pages = await all_pages(store, Asked(), lines_max=4)

    assert [len(page) for page in pages] == [4, 4, 2]
    assert [one for page in pages for one in page] == sorted(
        lines, key=lambda one: (one.started_at, one.turn_id), reverse=True
    )


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (Asked(only=Only(account_ids=("a1",))), [4, 1]),
        (Asked(only=Only(account_ids=("a1", "a2"))), [5, 4, 2, 1]),
        (Asked(only=Only(api_key_ids=("k1",), models=("m0",))), [3]),
        (Asked(outcomes=(Outcome.LIMITED, Outcome.BROKEN)), [4]),
        (Asked(since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=3)), [2, 1]),
        (Asked(session_id="session-2"), [2]),
        (Asked(text="USAGE_limit"), [4]),
        (Asked(text="t3"), [3]),
        (Asked(text="100%"), []),
        (Asked(text="session_"), []),
    ],
)
async def test_lines_are_found_by_what_is_asked(store: Database, asked: Asked, numbers: list[int]) -> None:
    lines = [line(n, minutes=n) for n in range(6)]
    lines[4] = replace(lines[4], outcome=Outcome.LIMITED, fault=LIMIT)
    await record(store, *lines)

    [page] = await all_pages(store, asked, lines_max=100)

    assert [one.turn_id for one in page] == [f"t{n}" for n in numbers]


async def test_a_rare_line_is_found_by_asking_on_and_every_page_looks_at_a_bounded_stretch(store: Database) -> None:
    many = request_log.LINES_LOOKED_AT_MAX
    rare = replace(line(0, minutes=0), session_id="rare")
    await record(store, rare)
    for start in range(1, many + 2, 5_000):
        await record(store, *(line(n, minutes=n) for n in range(start, min(start + 5_000, many + 2))))

    async with store.begin(writing=False) as unit:
        first = await unit.request_log.page(Asked(session_id="rare"), behind=None, lines_max=10)
        second = await unit.request_log.page(Asked(session_id="rare"), behind=first.behind, lines_max=10)

    assert (first.lines, first.behind) == ([], Place(NOON + timedelta(minutes=2), ""))
    assert (second.lines, second.behind) == ([rare], None)


async def test_what_is_past_its_retention_goes_in_bounded_steps_and_the_sums_stay(store: Database) -> None:
    old, new = line(1, minutes=0), line(2, minutes=60)
    settled = replace(settlement("l"), ended_at=NOON)
    async with store.begin(writing=True) as unit:
        await unit.turns.record([settled], [old, new, line(3, minutes=1)])

    before, dropped = NOON + timedelta(minutes=30), []
    for _ in range(3):
        async with store.begin(writing=True) as unit:
            dropped.append(await unit.request_log.purge(before=before, rows_max=1))

    assert dropped == [2, 1, 0]
    async with store.begin(writing=False) as unit:
        assert await unit.turns.report(TurnId("t1")) is None
        assert await unit.turns.report(TurnId("t2")) == new
        assert await unit.turns.attempts(settled.lease.turn_id) == []
        sums = await unit.rollups.per_hour(range(hour_of(NOON), hour_of(NOON) + 2), Only())
    assert [one.turns for one in sums.values()] == [2, 1]


def line(number: int, *, minutes: int) -> TurnReport:
    """A line whose parts are told from its number."""
    return replace(
        report(f"t{number}"),
        started_at=NOON + timedelta(minutes=minutes),
        account_id=f"a{number % 3}",
        api_key_id=f"k{number % 2}",
        model=f"m{number % 3}",
        session_id=f"session-{number}",
    )


async def record(store: Database, *lines: TurnReport) -> None:
    """In a transaction of its own."""
    async with store.begin(writing=True) as unit:
        await unit.turns.record([], lines)


async def all_pages(store: Database, asked: Asked, *, lines_max: int) -> list[list[TurnReport]]:
    """Page after page until the end."""
    pages: list[list[TurnReport]] = []
    behind: Place | None = None
    while True:
        async with store.begin(writing=False) as unit:
            page = await unit.request_log.page(asked, behind=behind, lines_max=lines_max)
        pages.append(list(page.lines))
        if page.behind is None:
            return pages
        behind = page.behind

"""Catalogs, terms and fingerprints, on both databases."""

from __future__ import annotations

from datetime import timedelta

import anyio

from codex_lb.control.store.database import Database
from tests.contract.store.examples import NOON


async def test_the_last_list_of_a_plan_replaces_the_one_before_and_keeps_upstreams_bytes(store: Database) -> None:
    entries = [("b", b'{"slug": "b",  "new_field": "\xc3\xa4"}'), ("a", b"{}"), ("b", b"{}")]

    async with store.begin(writing=True) as unit:
        await unit.catalogs.put("plus", [("old", b"{}"), ("older", b"{}")], seen_at=NOON)
        await unit.catalogs.put("pro", [], seen_at=NOON)
        await unit.catalogs.put("plus", entries, seen_at=NOON + timedelta(hours=1))

    async with store.begin(writing=False) as unit:
        assert await unit.catalogs.by_plan() == {"plus": entries, "pro": []}


async def test_a_term_is_never_given_twice_even_to_those_who_ask_together(store: Database) -> None:
    taken: list[int] = []

    async def take() -> None:
        async with store.begin(writing=True) as unit:
            taken.append(await unit.terms.next("control"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(take)

    assert sorted(taken) == list(range(1, 11))


async def test_counters_know_nothing_of_each_other(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        assert [await unit.terms.next(name) for name in ("control", "policy", "control")] == [1, 1, 2]


async def test_key_fingerprints_are_added_once(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        assert await unit.fingerprints.load() == frozenset()
        await unit.fingerprints.save(["a", "b"])
        await unit.fingerprints.save(["b", "c"])

    async with store.begin(writing=False) as unit:
        assert await unit.fingerprints.load() == {"a", "b", "c"}

"""The policy feed: versions, parts, and whoever waits for news."""

from __future__ import annotations

import anyio

from codex_lb.control.domain.evidence import Operated, OperatorAction
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.settings import LiveSettings
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Pool
from tests.support.clock import NOON, FakeClock
from tests.unit.control.leases import pool_of

PAUSED = Operated(OperatorAction.PAUSED, NOON)


def test_whoever_holds_nothing_gets_everything() -> None:
    change = _feed(pool_of("a")).since(0, "")

    assert change.is_snapshot
    assert change.settings is not None
    assert change.catalog is not None
    assert change.pool is not None
    assert (change.pool.ready_accounts, change.pool.accounts) == (1, 1)


def test_whoever_fell_behind_gets_only_the_parts_that_changed() -> None:
    pool = pool_of("a")
    feed = _feed(pool)
    held = feed.version
    pool.observe(AccountId("a"), PAUSED)
    feed.refresh_pool()

    change = feed.since(held, "history")

    assert not change.is_snapshot
    assert (change.settings, change.catalog) == (None, None)
    assert change.pool is not None
    assert change.pool.ready_accounts == 0


def test_a_version_of_another_history_or_of_the_future_is_worth_nothing() -> None:
    feed = _feed(pool_of("a"))

    assert feed.since(feed.version, "another control").is_snapshot
    assert feed.since(feed.version + 1, "history").is_snapshot
    assert not feed.since(feed.version, "history").is_snapshot


def test_a_pool_that_stands_as_before_is_no_news() -> None:
    feed = _feed(pool_of("a"))
    held = feed.version

    feed.refresh_pool()

    assert feed.version == held


async def test_whoever_waits_is_woken_by_every_change() -> None:
    pool = pool_of("a", "b")
    feed = _feed(pool)
    versions: list[int] = []

    async def watch() -> None:
        for _ in range(2):
            held = feed.version
            await feed.changed(held)
            versions.append(feed.version)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for name in ("a", "b"):
            await anyio.wait_all_tasks_blocked()
            pool.observe(AccountId(name), PAUSED)
            feed.refresh_pool()

    assert versions == [2, 3]


def _feed(pool: Pool) -> PolicyFeed:
    return PolicyFeed(pool, SettingsBook(LiveSettings()), FakeClock(), history_id="history")

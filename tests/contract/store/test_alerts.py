"""Alerts: told once while they last, by whichever replica; deliveries that survive a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec import structs

from codex_lb.control.domain.alert import (
    Alert,
    AlertKind,
    Condition,
    Delivery,
    DeliveryStage,
    Recent,
    Target,
    TargetKind,
)
from codex_lb.control.domain.lease import Blame, Fault, Outcome
from codex_lb.control.errors import StoreConflictError
from codex_lb.control.store.database import Database
from codex_lb.control.usecases.vault_ports import Sealed
from tests.contract.store.examples import NOON, report

LOW = Condition(AlertKind.POOL_LOW, "", "title", "text", NOON)
SLACK = Target("t1", "ops", TargetKind.SLACK, "hooks.slack.com", (AlertKind.POOL_LOW,), NOON)
SEALED = Sealed("key", b"sealed")


async def test_targets_are_kept_with_their_sealed_address(store: Database) -> None:
    other = replace(SLACK, target_id="t2", name="other", wants=(), created_at=NOON + timedelta(seconds=1))

    async with store.begin(writing=True) as unit:
        await unit.alerts.add_target(SLACK, SEALED)
        await unit.alerts.add_target(other, SEALED)
        with pytest.raises(StoreConflictError):
            await unit.alerts.add_target(replace(SLACK, target_id="t3"), SEALED)
        gone = [await unit.alerts.delete_target("t2"), await unit.alerts.delete_target("t2")]

    async with store.begin(writing=False) as unit:
        assert await unit.alerts.targets() == [(SLACK, SEALED)]
    assert gone == [True, False]


async def test_a_target_is_changed_by_whoever_saw_its_last_revision(store: Database) -> None:
    renamed = replace(SLACK, name="night shift", wants=(), revision=2)
    moved = replace(renamed, host="other.example.test", revision=3)
    async with store.begin(writing=True) as unit:
        await unit.alerts.add_target(SLACK, SEALED)

    async with store.begin(writing=True) as unit:
        saved = [await unit.alerts.save_target(renamed, None), await unit.alerts.save_target(renamed, None)]
        after_the_name = await unit.alerts.targets()
        saved.append(await unit.alerts.save_target(moved, Sealed("other", b"address")))

    async with store.begin(writing=False) as unit:
        assert saved == [True, False, True]
        assert after_the_name == [(renamed, SEALED)]
        assert await unit.alerts.targets() == [(moved, Sealed("other", b"address"))]


async def test_an_alert_that_lasts_is_raised_once_and_again_when_it_was_over(store: Database) -> None:
    first, second = Alert("1", LOW, NOON), Alert("2", LOW, NOON + timedelta(hours=1))

    async with store.begin(writing=True) as unit:
        raised = [await unit.alerts.raise_(one, [], is_lasting=True) for one in (first, second)]
        await unit.alerts.end("1", at=NOON + timedelta(minutes=5))
        raised.append(await unit.alerts.raise_(second, [], is_lasting=True))

    async with store.begin(writing=False) as unit:
        assert raised == [True, False, True]
        assert await unit.alerts.open() == [second]
        assert await unit.alerts.told_since(NOON) == {LOW.key: second.raised_at}
        assert await unit.alerts.told_since(NOON + timedelta(hours=2)) == {}


async def test_deliveries_wait_until_they_are_done_and_go_with_their_target(store: Database) -> None:
    alert = Alert("1", LOW, NOON)
    sent = [Delivery(f"d{n}", "1", "t1", next_try_at=NOON) for n in range(2)]
    done = replace(sent[0], stage=DeliveryStage.DELIVERED, tries=1, next_try_at=None, status=200, ended_at=NOON)
    async with store.begin(writing=True) as unit:
        await unit.alerts.add_target(SLACK, SEALED)
        await unit.alerts.raise_(alert, sent, is_lasting=True)
        await unit.alerts.save_delivery(done)

    async with store.begin(writing=True) as unit:
        assert await unit.alerts.waiting() == [(sent[1], alert)]
        assert await unit.alerts.recent(alerts_max=5) == [(alert, [done, sent[1]])]
        await unit.alerts.delete_target("t1")
        assert await unit.alerts.waiting() == []


async def test_what_was_over_long_ago_is_forgotten(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        await unit.alerts.add_target(SLACK, SEALED)
        test = replace(LOW, kind=AlertKind.TEST)
        await unit.alerts.raise_(Alert("1", test, NOON), [Delivery("d", "1", "t1")], is_lasting=False)
        await unit.alerts.raise_(Alert("2", LOW, NOON), [], is_lasting=True)
        await unit.alerts.purge(before=NOON + timedelta(days=1))

    async with store.begin(writing=False) as unit:
        assert [alert.alert_id for alert, _ in await unit.alerts.recent(alerts_max=5)] == ["2"]


async def test_failures_are_counted_but_for_those_that_are_the_clients_own(store: Database) -> None:
    lines = [structs.replace(report(f"t{n}", outcome=outcome)) for n, outcome in enumerate(Outcome)]
    own = structs.replace(report("own", outcome=Outcome.REJECTED), fault=Fault("invalid", Blame.CLIENT, 400, ""))
    old = structs.replace(report("old", outcome=Outcome.BROKEN), started_at=NOON - timedelta(seconds=1))
    async with store.begin(writing=True) as unit:
        await unit.turns.record([], [*lines, own, old])

    async with store.begin(writing=False) as unit:
        assert await unit.alerts.turns_since(NOON) == Recent(turns=6, failed=5)

"""API keys and their limits, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from msgspec import structs

from codex_lb.control.domain.api_key import ApiKey, UsageSection
from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.store.database import Database
from tests.contract.store.examples import NOON, report

FULL = ApiKey(
    api_key_id=ApiKeyId("key_full"),
    name="everything",
    prefix="sk-clb-abcdefgh",
    digest=b"\x00\xff" * 16,
    created_at=NOON,
    updated_at=NOON,
    is_enabled=False,
    expires_at=NOON + timedelta(days=30),
    previous_digest=b"\x01" * 32,
    previous_until=NOON + timedelta(hours=1),
    allowed_models=("gpt-5.5", "gpt-5.4"),
    enforced_model="gpt-5.5",
    enforced_reasoning_effort="high",
    enforced_service_tier="flex",
    allowed_reasoning_efforts=("low",),
    account_scope=(AccountId("acc_1"),),
    streams_max=3,
    usage_sections=(UsageSection.ACCOUNT_POOL_USAGE,),
    limits=(
        Limit("limit_2", LimitUnit.COST_USD, LimitWindow.MONTH, "", 5_000_000, begins_at=NOON),
        Limit("limit_1", LimitUnit.REQUESTS, LimitWindow.FIVE_HOURS, "gpt-5.5", 2**53, begins_at=NOON, reset_at=NOON),
    ),
)
BARE = ApiKey(ApiKeyId("key_bare"), "bare", "sk-clb-x", b"bare", created_at=NOON + timedelta(1), updated_at=NOON)
NOWHERE = replace(BARE, api_key_id=ApiKeyId("key_nowhere"), digest=b"nowhere", account_scope=(), usage_sections=())


async def test_keys_come_back_as_they_were_stored_the_oldest_first(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        for key in (NOWHERE, BARE, FULL):
            await unit.api_keys.add(key)

    async with store.begin(writing=False) as unit:
        assert await unit.api_keys.all() == [FULL, BARE, NOWHERE]


async def test_only_the_next_revision_of_what_is_stored_can_be_saved(store: Database) -> None:
    changed = replace(FULL, revision=2, name="other", limits=(replace(FULL.limits[0], amount_max=7),))
    async with store.begin(writing=True) as unit:
        await unit.api_keys.add(FULL)

    async with store.begin(writing=True) as unit:
        assert await unit.api_keys.save(changed)
        assert not await unit.api_keys.save(changed)
        assert not await unit.api_keys.save(replace(BARE, revision=2))

    async with store.begin(writing=False) as unit:
        assert await unit.api_keys.all() == [changed]


async def test_a_key_goes_with_its_limits_and_once(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        await unit.api_keys.add(FULL)
        assert await unit.api_keys.delete(FULL.api_key_id)
        assert not await unit.api_keys.delete(FULL.api_key_id)
        await unit.api_keys.add(FULL)  # its limits are not in the way

    async with store.begin(writing=False) as unit:
        assert await unit.api_keys.all() == [FULL]


async def test_when_a_key_was_last_used_follows_from_the_request_log(store: Database) -> None:
    last = NOON + timedelta(hours=2)
    reports = [
        structs.replace(report(f"turn_{n}"), api_key_id=FULL.api_key_id, started_at=NOON + timedelta(hours=n))
        for n in (1, 2)
    ]
    async with store.begin(writing=True) as unit:
        for key in (FULL, BARE):
            await unit.api_keys.add(key)
        await unit.turns.record([], reports)

        assert await unit.api_keys.last_used([FULL.api_key_id, BARE.api_key_id]) == {FULL.api_key_id: last}


async def test_when_keys_were_last_used_is_told_of_those_that_are_asked_about(store: Database) -> None:
    reports = [structs.replace(report(f"turn_{k}"), api_key_id=k) for k in (FULL.api_key_id, BARE.api_key_id)]
    async with store.begin(writing=True) as unit:
        for key in (FULL, BARE):
            await unit.api_keys.add(key)
        await unit.turns.record([], reports)

        assert (await unit.api_keys.last_used([BARE.api_key_id])).keys() == {BARE.api_key_id}
        assert await unit.api_keys.last_used([]) == {}

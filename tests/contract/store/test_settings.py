"""Settings that operators changed, on both databases."""

from __future__ import annotations

from dataclasses import asdict

from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.settings import LiveSettings, Strategy, UpstreamTransport
from codex_lb.control.store.database import Database

EVERY_ONE = LiveSettings(
    routing_strategy=Strategy.SINGLE_ACCOUNT,
    prefer_earlier_reset=False,
    single_account=AccountId("acc_1"),
    account_stream_limit=3,
    account_create_limit=2,
    api_key_auth_enabled=True,
    unauthenticated_client_cidrs=("10.0.0.0/8", "::1/128"),
    allowed_client_cidrs=(),
    upstream_stream_transport=UpstreamTransport.HTTP,
    hide_upstream_quota_from_api_keys=True,
)


async def test_every_setting_comes_back_as_it_was_put(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        await unit.settings.put(asdict(EVERY_ONE))

    async with store.begin(writing=False) as unit:
        stored = await unit.settings.all()

    assert LiveSettings(**stored) == EVERY_ONE  # type: ignore[arg-type]  # each in the type of its field


async def test_a_setting_is_replaced_and_removed_alone(store: Database) -> None:
    async with store.begin(writing=True) as unit:
        await unit.settings.put({"account_stream_limit": 3, "prefer_earlier_reset": False})
        await unit.settings.put({"account_stream_limit": 4})
        await unit.settings.remove(["prefer_earlier_reset"])

    async with store.begin(writing=False) as unit:
        assert await unit.settings.all() == {"account_stream_limit": 4}

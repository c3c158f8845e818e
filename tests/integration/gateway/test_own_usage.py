"""What a key's holder is told: own usage and limits, the pool unless it is hidden, and the headers of every answer."""

from __future__ import annotations

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from tests.integration.gateway.door import Door, refusal, set_
from tests.support.system import until

DAY = pb.LIMIT_WINDOW_DAY
LIMITS = [
    pb.Limit(unit=pb.LIMIT_UNIT_REQUESTS, window=DAY, amount_max=4, model="gpt-5.5"),
    pb.Limit(unit=pb.LIMIT_UNIT_COST_USD, window=pb.LIMIT_WINDOW_WEEK, amount_max=10_000_000),
]


async def hide(door: Door) -> None:
    await set_(
        door.peers, settings_pb.Settings(hide_upstream_quota_from_api_keys=True), "hide_upstream_quota_from_api_keys"
    )
    await until(lambda: door.pair.gateway.policies.policy.hide_quota_from_keys)


async def shows_the_pool(door: Door) -> None:
    """A turn has shown how full the account is, and the gateway knows."""
    await until(lambda: len(door.pair.gateway.policies.policy.windows) == 2)


async def test_a_key_sees_what_it_used_and_how_its_limits_stand(door: Door) -> None:
    made = await door.key(limits=LIMITS)
    await door.ask(made.secret)
    await door.pair.settled()
    await shows_the_pool(door)

    page = (await door.ask(made.secret, "GET", "/v1/usage")).json()

    counted = (await door.pair.upstream.counters()).total
    assert (page["request_count"], page["total_tokens"]) == (1, counted.input_tokens + counted.output_tokens)
    assert page["cached_input_tokens"] == counted.cached_tokens
    assert page["total_cost_usd"] > 0
    requests, cost = page["limits"]
    assert requests == {
        "limit_type": "requests",
        "limit_window": "daily",
        "max_value": 4,
        "current_value": 1,
        "remaining_value": 3,
        "model_filter": "gpt-5.5",
        "reset_at": requests["reset_at"],
        "source": "api_key_limit",
    }
    assert cost["current_value"] == round(page["total_cost_usd"] * 1_000_000)
    assert [limit["limit_window"] for limit in page["upstream_limits"]] == ["5h", "7d"]
    assert page["account_pool_usage"]["primary"]["window_minutes"] == 300


async def test_a_key_without_limits_sees_those_of_the_pool(door: Door) -> None:
    made = await door.key()
    await door.ask(made.secret)
    await shows_the_pool(door)

    page = (await door.ask(made.secret, "GET", "/v1/usage")).json()

    assert [(limit["limit_type"], limit["source"]) for limit in page["limits"]] == [("credits", "aggregate")] * 2


async def test_usage_wants_a_key_even_where_nothing_else_does(door: Door) -> None:
    made = await door.key()
    await set_(door.peers, settings_pb.Settings(api_key_auth_enabled=False), "api_key_auth_enabled")
    await until(lambda: not door.pair.gateway.policies.policy.api_key_auth_enabled)

    missing = await door.ask("", "GET", "/v1/usage")
    with_key = await door.ask(made.secret, "GET", "/v1/usage")
    models = await door.ask("", "GET", "/v1/models")

    assert (missing.status_code, missing.json()) == (401, refusal("Missing API key in Authorization header"))
    assert (with_key.status_code, models.status_code) == (200, 200)


async def test_where_codex_looks_for_an_account_a_key_sees_its_own_limits(door: Door) -> None:
    made = await door.key(limits=LIMITS)
    await door.ask(made.secret)
    await door.pair.settled()

    page = (await door.ask(made.secret, "GET", "/api/codex/usage")).json()

    windows = page["rate_limit"]
    assert (windows["primary_window"]["used_percent"], windows["primary_window"]["limit_window_seconds"]) == (
        25,
        86_400,
    )
    assert windows["secondary_window"]["limit_window_seconds"] == 7 * 86_400
    assert (windows["allowed"], windows["limit_reached"]) == (True, False)


async def test_the_pools_quota_can_be_hidden_from_key_holders(door: Door) -> None:
    telling = await door.pair.upstream.add_account("telling", sends_rate_limit_events=True)
    name = await door.pair.import_account(telling)
    made = await door.key(account_scope=pb.AccountScope(accounts=[name]))
    before = await door.ask(made.secret)
    await shows_the_pool(door)
    shown = await door.ask(made.secret)
    await hide(door)

    after = await door.ask(made.secret)
    page = (await door.ask(made.secret, "GET", "/v1/usage")).json()
    codex = (await door.ask(made.secret, "GET", "/api/codex/usage")).json()

    assert before.status_code == after.status_code == 200
    assert any(name.startswith("x-codex-primary") for name in shown.headers)
    assert b"codex.rate_limits" in shown.content
    assert b"codex.rate_limits" not in after.content
    assert not [name for name in after.headers if name.startswith(("x-codex-primary", "x-codex-secondary"))]
    assert (page["limits"], page["upstream_limits"], page["account_pool_usage"]) == ([], [], None)
    assert codex["rate_limit"]["primary_window"] is None

"""The model list and the usage page."""

import time

import httpx

from tests.integration.simulator.turns import create, events, signed
from tests.support import upstream as sim
from tests.support.upstream import Credits, Upstream, Window

MODELS = "/backend-api/codex/models"
USAGE = "/backend-api/wham/usage"


async def test_every_entry_of_the_model_list_is_complete(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a", plan="pro")

    answer = await client.get(MODELS, params={"client_version": "0.169.0"}, headers=signed(account))

    models = answer.json()["models"]
    assert len(models) >= 15
    assert answer.headers["etag"]
    for model in models:
        assert model["truncation_policy"]["limit"] == 10_000
        assert model["experimental_supported_tools"] == []
        assert "pro" in model["available_in_plans"]


async def test_the_model_list_depends_on_the_plan_and_can_be_set(upstream: Upstream, client: httpx.AsyncClient) -> None:
    free, set_by_hand = await upstream.add_account("a", plan="free"), await upstream.add_account("b")
    await upstream.set_models("b", "gpt-5.5", {"slug": "gpt-x", "display_name": "X"})

    lists = [
        (await client.get(MODELS, params={"client_version": "0.169.0"}, headers=signed(account))).json()["models"]
        for account in (free, set_by_hand)
    ]

    assert "gpt-6-astra" not in [model["slug"] for model in lists[0]]
    assert [model["slug"] for model in lists[1]] == ["gpt-5.5", "gpt-x"]
    assert (await create(client, set_by_hand, model="gpt-5.4")).status_code == 400


async def test_the_model_list_wants_a_client_version(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")

    answer = await client.get(MODELS, headers=signed(account))

    assert answer.status_code == 422


async def test_each_plan_reports_its_own_windows(upstream: Upstream, client: httpx.AsyncClient) -> None:
    accounts = [
        await upstream.add_account("a"),
        await upstream.add_account("b", plan="free"),
        await upstream.add_account("c", plan="weekly"),
    ]

    pages = [(await client.get(USAGE, headers=signed(account))).json() for account in accounts]

    limits = [page["rate_limit"] for page in pages]
    assert [page["plan_type"] for page in pages] == ["plus", "free", "plus"]
    assert [limit["primary_window"]["limit_window_seconds"] for limit in limits] == [18_000, 2_592_000, 604_800]
    assert [limit["secondary_window"] is None for limit in limits] == [False, True, True]


async def test_usage_that_is_set_shows_on_the_page_and_on_every_answer(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a", sends_rate_limit_events=True)
    await upstream.set_usage(
        "a", primary=Window(used_percent=61.5, resets_in_s=60), credits=Credits(has_credits=True, balance="12.50")
    )

    page = (await client.get(USAGE, headers=signed(account))).json()
    answer = await create(client, account)

    assert page["rate_limit"]["primary_window"]["used_percent"] == 61.5
    assert abs(page["rate_limit"]["primary_window"]["reset_at"] - time.time() - 60) < 30
    assert page["credits"]["balance"] == "12.50"
    assert answer.headers["x-codex-primary-used-percent"] == "61.5"
    assert answer.headers["x-codex-secondary-used-percent"] == "34"
    first = events(answer.content)[0]
    assert first["type"] == "codex.rate_limits"
    assert first["rate_limits"]["primary"]["used_percent"] == 61.5


async def test_usage_rises_with_tokens_until_the_account_is_refused(
    upstream: Upstream, client: httpx.AsyncClient
) -> None:
    account = await upstream.add_account("a")
    await upstream.set_usage("a", primary=Window(used_percent=0, quota_tokens=100_000))

    answers = [await create(client, account, "<<tokens:60000>>") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["error"]["type"] == "usage_limit_reached"
    page = (await client.get(USAGE, headers=signed(account))).json()
    assert page["rate_limit"]["limit_reached"] is True


async def test_a_full_window_need_not_refuse(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.set_usage("a", primary=Window(used_percent=100), is_enforced=False)

    answer = await create(client, account)

    assert answer.status_code == 200
    assert answer.headers["x-codex-primary-used-percent"] == "100"


async def test_pages_play_their_own_scripts(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", sim.http(500), kind="usage")

    statuses = [(await client.get(USAGE, headers=signed(account))).status_code for _ in range(2)]

    assert statuses == [500, 200]
    assert (await create(client, account)).status_code == 200
    assert (await upstream.tally("a")).usage_reads == 2

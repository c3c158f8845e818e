"""The issuer: tokens that rotate, families that end, codes for a login."""

import base64
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import msgspec

from tests.integration.simulator.turns import create
from tests.support import upstream as sim
from tests.support.upstream import Upstream

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
REDIRECT = "http://localhost:1455/auth/callback"


async def refresh(client: httpx.AsyncClient, refresh_token: str) -> httpx.Response:
    grant = {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": refresh_token}
    return await client.post("/oauth/token", json=grant)


def claims(token: str) -> dict[str, Any]:
    middle = token.split(".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)), type=dict[str, Any])


async def test_a_login_is_ready_to_import_and_says_who_it_is(upstream: Upstream) -> None:
    account = await upstream.add_account("a", plan="team")

    held = msgspec.json.decode(account.auth_json)
    said = claims(account.id_token)

    assert held["tokens"]["account_id"] == account.account_id
    assert held["tokens"]["refresh_token"] == account.refresh_token
    assert said["email"] == account.email
    assert said["https://api.openai.com/auth"]["chatgpt_plan_type"] == "team"
    assert claims(account.access_token)["exp"] > said["iat"]


async def test_a_refresh_gives_new_tokens_that_work(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.expire_access("a")

    before = await create(client, account)
    tokens = (await refresh(client, account.refresh_token)).json()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    after = await client.get("/backend-api/wham/usage", headers=headers)

    assert (before.status_code, after.status_code) == (401, 200)
    assert tokens["refresh_token"] != account.refresh_token
    assert (await upstream.tally("a")).exchanges == 1


async def test_a_refresh_token_used_twice_ends_its_family(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    fresh = (await refresh(client, account.refresh_token)).json()["refresh_token"]

    again = await refresh(client, account.refresh_token)
    orphan = await refresh(client, fresh)

    assert (again.status_code, again.json()["error"]["code"]) == (401, "refresh_token_reused")
    assert (orphan.status_code, orphan.json()["error"]["code"]) == (401, "refresh_token_invalidated")
    assert [violation.kind for violation in await upstream.violations()] == ["refresh_token_reused"]
    tally = await upstream.tally("a")
    assert (tally.exchanges, tally.exchanges_refused) == (1, 2)


async def test_of_two_exchanges_at_once_one_wins(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", then=sim.hold_headers(), kind="token")
    statuses: list[int] = []

    async def exchange() -> None:
        statuses.append((await refresh(client, account.refresh_token)).status_code)

    async with anyio.create_task_group() as exchanging:
        exchanging.start_soon(exchange)
        exchanging.start_soon(exchange)
        await upstream.wait_for(lambda seen: seen.held == 2)
        await upstream.release()

    assert sorted(statuses) == [200, 401]


async def test_a_second_login_is_another_family(upstream: Upstream, client: httpx.AsyncClient) -> None:
    first = await upstream.add_account("a")
    second = await upstream.add_account("a")
    await refresh(client, first.refresh_token)
    await refresh(client, first.refresh_token)

    answer = await refresh(client, second.refresh_token)

    assert answer.status_code == 200
    assert second.account_id == first.account_id


async def test_a_revoked_account_must_sign_in_again(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.revoke("a")

    turn, exchange = await create(client, account), await refresh(client, account.refresh_token)

    assert (turn.status_code, exchange.status_code) == (401, 401)
    assert exchange.json()["error"]["code"] == "refresh_token_invalidated"


async def test_a_person_signs_in_with_a_code(upstream: Upstream, client: httpx.AsyncClient) -> None:
    await upstream.add_account("a")
    account = await upstream.add_account("b")
    await upstream.at_the_browser("b")
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"the verifier").digest()).rstrip(b"=").decode()
    query = {"response_type": "code", "client_id": CLIENT_ID, "redirect_uri": REDIRECT, "state": "s1"}
    query |= {"code_challenge": challenge, "code_challenge_method": "S256", "scope": "openid profile email"}

    consent = await client.get("/oauth/authorize", params=query)
    back = parse_qs(urlsplit(consent.headers["location"]).query)
    grant = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "redirect_uri": REDIRECT}
    grant |= {"code": back["code"][0], "code_verifier": "the verifier"}
    tokens, again = [await client.post("/oauth/token", data=grant) for _ in range(2)]

    assert consent.status_code == 302
    assert back["state"] == ["s1"]
    assert claims(tokens.json()["id_token"])["email"] == account.email
    assert (again.status_code, again.json()["error"]["code"]) == (400, "invalid_grant")


async def test_a_device_signs_in_once_its_code_is_typed(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    device = (await client.post("/api/accounts/deviceauth/usercode", json={"client_id": CLIENT_ID})).json()
    shown = {"device_auth_id": device["device_auth_id"], "user_code": device["user_code"]}

    before = await client.post("/api/accounts/deviceauth/token", json=shown)
    await upstream.approve_device("a", device["user_code"])
    after = (await client.post("/api/accounts/deviceauth/token", json=shown)).json()
    grant = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "code": after["authorization_code"]}
    grant |= {"code_verifier": after["code_verifier"], "redirect_uri": f"{upstream.base_url}/deviceauth/callback"}
    tokens = await client.post("/oauth/token", data=grant)

    assert before.status_code == 403
    assert claims(tokens.json()["id_token"])["email"] == account.email

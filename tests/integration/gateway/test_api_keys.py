"""API keys at the gateway's door: every route, every refusal to the byte, and how soon a change holds."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.api.admin.v1 import settings_service_pb2 as settings_pb
from codex_lb.control.rpcs.instants import wire_instant, wire_seconds
from tests.integration.gateway.door import CODEX, Door, is_refused, refusal, set_
from tests.support.pair import second_gateway
from tests.support.system import until
from tests.support.turns import codex_turn

REVOKED_WITHIN_S = 1.0  # architecture, section 7; it takes some 10 ms
TRIES = 3  # so that a machine that stood still once does not fail the test
ROUTES = [
    ("POST", CODEX),
    ("POST", "/backend-api/codex/responses/compact"),
    ("POST", "/backend-api/codex/v1/responses"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/responses/compact"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/models"),
    ("GET", "/backend-api/codex/models"),
    ("GET", "/api/codex/usage"),
    ("GET", "/backend-api/wham/usage"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/backend-api/transcribe"),
    ("POST", "/backend-api/files"),
    ("POST", "/backend-api/files/file-1/uploaded"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/images/variations"),
    ("POST", "/backend-api/codex/images/generations"),
    ("POST", "/backend-api/codex/images/edits"),
    ("POST", "/backend-api/codex/thread/goal/set"),
    ("POST", "/backend-api/codex/analytics-events/events"),
]
SOCKETS = [CODEX, "/v1/responses"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_no_route_serves_anybody_without_a_key(door: Door, method: str, path: str) -> None:
    missing = await door.ask("", method, path)
    wrong = await door.ask("sk-clb-wrong", method, path)

    assert (missing.status_code, missing.json()) == (401, refusal("Missing API key in Authorization header"))
    assert (wrong.status_code, wrong.json()) == (401, refusal("Invalid API key"))
    assert await door.pair.upstream.turns() == []


@pytest.mark.parametrize("path", SOCKETS)
async def test_no_socket_opens_without_a_key_and_every_turn_on_one_is_checked_anew(door: Door, path: str) -> None:
    made = await door.key()
    url = door.pair.base_url + path
    async with aiohttp.ClientSession(trust_env=False) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as denied:
            await session.ws_connect(url)
        async with session.ws_connect(url, headers={"authorization": f"Bearer {made.secret}"}) as socket:
            await door.peers.api_keys.DisableApiKey(pb.DisableApiKeyRequest(name=made.api_key.name))
            await until(lambda: not any(k.enabled for k in door.pair.gateway.policies.policy.keys.values()))
            await socket.send_str(json.dumps({"type": "response.create", **codex_turn()}))
            frame = await socket.receive_json(timeout=5)

    assert denied.value.status == 401
    assert (frame["type"], frame["status"], frame["error"]["message"]) == ("error", 401, "Invalid API key")


async def test_a_key_that_works_no_more_is_told_why(door: Door) -> None:
    expired = await door.key(expires_at=wire_instant(datetime.now(UTC) - timedelta(seconds=1)))
    disabled = await door.key()
    await door.peers.api_keys.DisableApiKey(pb.DisableApiKeyRequest(name=disabled.api_key.name))
    await until(lambda: not all(k.enabled for k in door.pair.gateway.policies.policy.keys.values()))

    answers = [await door.ask(made.secret) for made in (expired, disabled)]

    assert [(a.status_code, a.json()) for a in answers] == [
        (401, refusal("API key has expired")),
        (401, refusal("Invalid API key")),
    ]


async def test_a_key_with_models_gets_those_and_sees_no_others(door: Door) -> None:
    made = await door.key(allowed_models=["gpt-5.4"])

    foreign = await door.ask(made.secret)
    own = await door.ask(made.secret, model="gpt-5.4")

    message = "This API key does not have access to model 'gpt-5.5'"
    assert (foreign.status_code, foreign.json()) == (403, refusal(message, "permission_error", "model_not_allowed"))
    assert own.status_code == 200


async def test_what_a_key_enforces_is_what_upstream_gets(door: Door) -> None:
    made = await door.key(enforced_model="gpt-5.4", enforced_reasoning_effort="low", enforced_service_tier="flex")

    answer = await door.ask(made.secret, reasoning={"effort": "high"}, service_tier="priority")

    assert answer.status_code == 200
    sent = (await door.pair.upstream.turn()).body
    assert (sent["model"], sent["reasoning"], sent["service_tier"]) == ("gpt-5.4", {"effort": "low"}, "flex")


async def test_a_rotated_key_works_beside_the_new_one_for_the_overlap(door: Door) -> None:
    made = await door.key()
    verb = door.peers.api_keys.RotateApiKey
    first = await verb(pb.RotateApiKeyRequest(name=made.api_key.name, overlap=wire_seconds(60)))
    await until(lambda: len(door.pair.gateway.policies.policy.keys) == 2)

    during = [(await door.ask(secret)).status_code for secret in (made.secret, first.secret)]
    second = await verb(pb.RotateApiKeyRequest(name=made.api_key.name))
    await until(lambda: len(door.pair.gateway.policies.policy.keys) == 1)
    after = [(await door.ask(secret)).status_code for secret in (made.secret, first.secret, second.secret)]

    assert (during, after) == ([200, 200], [401, 401, 200])


async def test_a_revoked_key_is_refused_by_every_gateway_within_a_second(door: Door) -> None:
    keys = [await door.key(str(number)) for number in range(TRIES)]
    took_s: list[float] = []
    async with second_gateway(door.pair) as (client, gateway):
        await until(lambda: len(gateway.policies.policy.keys) == len(keys))
        for made in keys:
            assert (await door.ask(made.secret)).status_code == 200
            revoked_at = time.monotonic()
            await door.peers.api_keys.DeleteApiKey(pb.DeleteApiKeyRequest(name=made.api_key.name))
            for one in (door.pair.client, client):
                await until(partial(is_refused, one, made.secret))
            took_s.append(time.monotonic() - revoked_at)

    assert min(took_s) < REVOKED_WITHIN_S


async def test_the_openai_library_works_with_a_key_and_is_refused_without(door: Door) -> None:
    made = await door.key()
    base_url = f"{door.pair.base_url}/v1"
    async with AsyncOpenAI(base_url=base_url, api_key=made.secret, max_retries=0) as client:
        answer = await client.responses.create(model="gpt-5.5", input="<<say:hello>>")
    async with AsyncOpenAI(base_url=base_url, api_key="sk-clb-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError, match="Invalid API key"):
            await stranger.responses.create(model="gpt-5.5", input="hello")

    assert answer.output_text == "hello"


async def test_who_keeps_sending_wrong_keys_is_told_to_wait_and_a_good_key_passes_all_the_same(door: Door) -> None:
    made = await door.key()

    wrong = [await door.ask("sk-clb-wrong", "GET", "/v1/models") for _ in range(21)]
    good = await door.ask(made.secret, "GET", "/v1/models")

    assert {answer.status_code for answer in wrong[:20]} == {401}
    assert (wrong[20].status_code, wrong[20].json()["error"]["code"]) == (429, "too_many_failed_attempts")
    assert 1 <= int(wrong[20].headers["retry-after"]) <= 60
    assert good.status_code == 200


async def test_an_allow_list_shuts_out_whoever_is_not_on_it_key_or_not(door: Door) -> None:
    made = await door.key()
    await set_(door.peers, settings_pb.Settings(allowed_client_cidrs=["192.0.2.0/24"]), "allowed_client_cidrs")
    await until(lambda: bool(door.pair.gateway.policies.policy.allowed_client_networks))

    answers = [await door.ask(made.secret, method, path) for method, path in ROUTES]

    said = refusal("Access denied for client IP", "access_error", "ip_forbidden")
    assert [(a.status_code, a.json()) for a in answers] == [(403, said)] * len(ROUTES)


async def test_a_program_in_a_browser_is_served_with_a_key(door: Door) -> None:
    made = await door.key()
    headers = {"authorization": f"Bearer {made.secret}", "origin": "app://editor"}

    answer = await door.pair.client.get("/v1/models", headers=headers)

    assert answer.status_code == 200

"""Limits of API keys, from the client to the ledger: reserved before a turn, counted after it, over two gateways."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta

import aiohttp
import httpx
import openai
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from openai import AsyncOpenAI

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.control.domain.ids import TurnId
from tests.integration.gateway.door import CODEX, Door
from tests.support.pair import LEASE_WAIT_S, second_gateway
from tests.support.system import until
from tests.support.turns import codex_turn
from tests.support.upstream import ANY, Seen, hold, slow

DAY, MONTH = pb.LIMIT_WINDOW_DAY, pb.LIMIT_WINDOW_MONTH
LONG_S = 60.0  # stands for "as long as it takes"
TOKENS, REQUESTS, COST = pb.LIMIT_UNIT_TOTAL_TOKENS, pb.LIMIT_UNIT_REQUESTS, pb.LIMIT_UNIT_COST_USD


def limit(
    amount_max: int,
    unit: pb.LimitUnit.ValueType = REQUESTS,
    window: pb.LimitWindow.ValueType = DAY,
    model: str = "",
) -> pb.Limit:
    return pb.Limit(unit=unit, window=window, amount_max=amount_max, model=model)


async def limits_of(door: Door, key: pb.ApiKey) -> list[pb.Limit]:
    return list((await door.peers.api_keys.GetApiKey(pb.GetApiKeyRequest(name=key.name))).limits)


async def settled(door: Door, key: pb.ApiKey) -> list[pb.Limit]:
    """The key's limits, once nothing of them is reserved."""
    seen: list[list[pb.Limit]] = []

    async def is_settled() -> bool:
        seen.append(await limits_of(door, key))
        return not any(one.amount_reserved for one in seen[-1])

    await until(is_settled, seen=seen)
    await door.pair.settled()
    return seen[-1]


async def give(door: Door, key: pb.ApiKey, *limits: pb.Limit) -> pb.ApiKey:
    request = pb.UpdateApiKeyRequest(
        api_key=pb.ApiKey(name=key.name, limits=limits), update_mask=FieldMask(paths=["limits"])
    )
    return await door.peers.api_keys.UpdateApiKey(request)


async def tokens_in_the_ledger(door: Door, key: pb.ApiKey) -> int:
    async with door.pair.control.store.begin(writing=False) as unit:
        [known] = [k for k in await unit.api_keys.all() if key.name.endswith(k.api_key_id)]
        spent = await unit.spendings.known(known.api_key_id, since=known.created_at, model="")
    return spent.total_tokens


async def test_a_hundred_turns_at_once_over_two_gateways_get_what_there_is_room_for_and_add_up(door: Door) -> None:
    await door.pair.add("b", "c")
    estimate = math.ceil(len(httpx.Request("POST", "http://x", json=codex_turn()).content) / 4) + 2048
    made = await door.key(limits=[limit(10 * estimate, TOKENS), limit(10**9, COST, MONTH)])
    upstream = door.pair.upstream
    await upstream.script(ANY, then=hold())
    async with second_gateway(door.pair) as (client, gateway):
        await until(lambda: bool(gateway.policies.policy.keys))
        headers = {"authorization": f"Bearer {made.secret}"}
        asking = [
            asyncio.create_task(one.post(CODEX, json=codex_turn(), headers=headers))
            for _ in range(50)
            for one in (door.pair.client, client)
        ]
        await upstream.wait_for(lambda seen: seen.held >= 10)
        await until(lambda: sum(task.done() for task in asking) == 90)
        [tokens, _] = await limits_of(door, made.api_key)
        assert (tokens.amount_used, tokens.amount_reserved) == (0, 10 * estimate)
        await release_all(door, asking)
        answers = [await task for task in asking]

    [tokens, cost] = await settled(door, made.api_key)
    counted = (await upstream.counters()).total
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 90
    assert counted.turns == 10
    assert tokens.amount_used == counted.input_tokens + counted.output_tokens
    assert tokens.amount_used == await tokens_in_the_ledger(door, made.api_key)
    assert cost.amount_used > 0


async def release_all(door: Door, asking: list[asyncio.Task[httpx.Response]]) -> None:
    await door.pair.upstream.script(ANY)

    async def are_done() -> bool:
        await door.pair.upstream.release()
        return all(task.done() for task in asking)

    await until(are_done)


async def test_a_limit_that_is_used_up_says_which_one_and_until_when(door: Door) -> None:
    made = await door.key(limits=[limit(10**9, TOKENS), limit(1, REQUESTS, DAY, "gpt-5.5")])
    first = await door.ask(made.secret)
    [_, requests] = await settled(door, made.api_key)
    resets_at = requests.resets_at.ToDatetime(UTC)
    message = f"API key requests day limit exceeded for model gpt-5.5. Usage resets at {resets_at:%Y-%m-%dT%H:%M:%SZ}."
    early = await door.ask(made.secret)
    other = await door.ask(made.secret, model="gpt-5.4")

    assert (first.status_code, other.status_code) == (200, 200)
    error = early.json()["error"]
    assert (early.status_code, error["message"]) == (429, message)
    # Codex sends any 429 again, after whatever time it is told, but for those of this type.
    assert (error["type"], error["code"]) == ("usage_limit_reached", "rate_limit_exceeded")
    assert error["resets_at"] == int(resets_at.timestamp())
    assert early.headers["x-codex-promo-message"] == "API key requests day limit exceeded for model gpt-5.5"
    left_s = (resets_at - datetime.now(UTC)).total_seconds()
    assert left_s - 5 <= int(early.headers["retry-after"]) <= left_s + 5
    assert resets_at - datetime.now(UTC) <= timedelta(days=1)


async def test_turns_that_run_leave_no_room_and_that_is_another_thing_than_a_limit_used_up(door: Door) -> None:
    made = await door.key(limits=[limit(3000, TOKENS)])
    await door.pair.upstream.script("a", hold())
    running = asyncio.create_task(door.ask(made.secret))
    await door.pair.upstream.wait_for(is_held)

    refused = await door.ask(made.secret)
    await door.pair.upstream.release()
    await running
    await settled(door, made.api_key)
    after = await door.ask(made.secret)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert "has no room while other turns run" in refused.json()["error"]["message"]
    assert after.status_code == 200


def is_held(seen: Seen) -> bool:
    return seen.held == 1


async def test_a_key_runs_as_many_turns_at_once_as_it_may_over_two_gateways_and_the_others_wait(door: Door) -> None:
    await door.pair.add("b", "c")
    made = await door.key(streams_max=2)
    headers = {"authorization": f"Bearer {made.secret}"}
    await door.pair.upstream.script(ANY, then=slow(0.1))
    patient = {"lease_wait_seconds": LONG_S}
    async with (
        second_gateway(door.pair, **patient) as (one, left),
        second_gateway(door.pair, name="gateway-3", **patient) as (other, right),
    ):
        await until(lambda: bool(left.policies.policy.keys and right.policies.policy.keys))
        asking = [client.post(CODEX, json=codex_turn(), headers=headers) for _ in range(5) for client in (one, other)]
        answers = await asyncio.gather(*asking)

    assert [answer.status_code for answer in answers] == [200] * 10
    assert (await door.pair.upstream.counters()).total.open_peak == 2


async def test_a_turn_that_waits_in_vain_for_its_key_is_refused_and_the_request_log_says_why(door: Door) -> None:
    made = await door.key(streams_max=1)
    await door.pair.upstream.script("a", hold())
    running = asyncio.create_task(door.ask(made.secret))
    await door.pair.upstream.wait_for(is_held)

    refused = await door.ask(made.secret)
    await door.pair.upstream.release()
    await running
    await door.pair.settled()
    after = await door.ask(made.secret)

    assert (refused.status_code, refused.headers["retry-after"], after.status_code) == (429, "5", 200)
    assert refused.json()["error"]["message"].startswith("API key may run 1 turns at once")
    async with door.pair.control.store.begin(writing=False) as unit:
        report = await unit.turns.report(TurnId(refused.headers["x-request-id"]))
    assert report is not None
    assert report.decision is not None
    assert report.decision.passed_over_counts == {"key_busy": 1}
    assert report.decision.waited_s >= LEASE_WAIT_S - 0.001  # a timer may fire a little before its time


async def test_a_limit_made_later_counts_what_its_window_has_seen_and_a_reset_counts_nothing(door: Door) -> None:
    made = await door.key()
    for _ in range(3):
        await door.ask(made.secret)
    await door.pair.settled()

    limited = await give(door, made.api_key, limit(3), limit(10**9, TOKENS))
    refused = await door.ask(made.secret)
    reset = await door.peers.api_keys.ResetApiKeyUsage(pb.ResetApiKeyUsageRequest(name=made.api_key.name))
    await until(lambda: not any(k.reached_limits for k in door.pair.gateway.policies.policy.keys.values()))
    served = await door.ask(made.secret)

    counted = (await door.pair.upstream.counters()).total
    assert [one.amount_used for one in reset.limits] == [0, 0]
    assert (limited.limits[0].amount_used, refused.status_code, served.status_code) == (3, 429, 200)
    assert limited.limits[1].amount_used * 4 == (counted.input_tokens + counted.output_tokens) * 3


async def test_a_turn_whose_client_hung_up_counts_with_what_it_had_reserved(door: Door) -> None:
    made = await door.key(limits=[limit(100_000, TOKENS), limit(5)])
    async with door.pair.client.stream(
        "POST", CODEX, json=codex_turn("<<long:5000>>"), headers={"authorization": f"Bearer {made.secret}"}
    ) as answer:
        await anext(answer.aiter_bytes())

    [tokens, requests] = await settled(door, made.api_key)

    assert tokens.amount_used > 2048
    assert requests.amount_used == 1


async def test_a_turn_on_a_socket_is_refused_by_a_frame_with_the_status(door: Door) -> None:
    made = await door.key(limits=[limit(1)])
    await door.ask(made.secret)
    await settled(door, made.api_key)

    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.ws_connect(door.pair.base_url + CODEX, headers={"authorization": f"Bearer {made.secret}"}) as socket,
    ):
        await socket.send_json({"type": "response.create", **codex_turn()})
        frame = await socket.receive_json(timeout=5)

    assert (frame["type"], frame["status"], frame["error"]["code"]) == ("error", 429, "rate_limit_exceeded")


async def test_the_openai_library_sees_a_rate_limit(door: Door) -> None:
    made = await door.key(limits=[limit(1)])
    async with AsyncOpenAI(base_url=f"{door.pair.base_url}/v1", api_key=made.secret, max_retries=0) as client:
        await client.responses.create(model="gpt-5.5", input="<<say:hello>>")
        await settled(door, made.api_key)
        with pytest.raises(openai.RateLimitError, match="requests day limit exceeded"):
            await client.responses.create(model="gpt-5.5", input="hello")


async def test_a_key_with_a_scope_uses_those_accounts_and_no_others(door: Door) -> None:
    [other] = await door.pair.add("other")
    name = (await door.pair.status_of(other.email)).name
    made = await door.key(account_scope=pb.AccountScope(accounts=[name]))
    nobody = await door.key("nobody", account_scope=pb.AccountScope())

    answers = [await door.ask(made.secret) for _ in range(5)]
    refused = await door.ask(nobody.secret)

    assert {answer.status_code for answer in answers} == {200}
    assert {turn.account for turn in await door.pair.upstream.turns()} == {"other"}
    assert refused.status_code == 503

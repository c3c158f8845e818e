"""Gateway and control are killed while a key spends: whatever does not add up is a row that says `abandoned`.

Several controls on one Redis hold a key to one limit together, also while Redis forgets and one of them dies.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.databases import postgresql_server, postgresql_template, postgresql_url
from tests.support.redis_server import RedisServer, running_redis
from tests.support.system import System, a_turn, start_services, until
from tests.support.upstream import ANY, Upstream, hold, start_upstream

__all__ = ["postgresql_server", "postgresql_template", "postgresql_url"]

CODEX = "/backend-api/codex/responses"
TURNS = 6  # at each gateway, in each round
ROOM = 10  # for so many turns at once
START_WITHIN_S = 60.0  # six cold interpreters at once
SETTLED_WITHIN_S = 30.0


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def services(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """Control and two gateways, which ask for keys."""
    async with start_services(upstream, tmp_path, gateways=2) as system:
        await system.add("a", "b", "c")
        yield system


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def several(upstream: Upstream, redis: RedisServer, postgresql_url: str, tmp_path: Path) -> AsyncIterator[System]:
    """Two controls and two gateways, on one PostgreSQL and one Redis; each gateway asks another control first."""
    env = {"CODEX_LB_REDIS_URL": redis.url}
    async with start_services(
        upstream, tmp_path, gateways=2, controls=2, env=env, database_url=postgresql_url, wait=False
    ) as running:
        await running.ready(within_s=START_WITHIN_S)
        await running.add("a", "b", "c")
        yield running


async def make_key(system: System, *, tokens: str = "10M") -> str:
    """A key with a limit on tokens, which every gateway asks for; the key itself."""
    limits = "--limit", f"{tokens} tokens/month", "--limit", "1000 requests/day"
    made = await system.run("admin", "api-keys", "create", "ci", *limits, "--json")
    assert made.code == 0, made.err
    switched = await system.run("admin", "settings", "set", "api_key_auth_enabled=true")
    assert switched.code == 0, switched.err
    for client in system.clients:

        async def asks(client: httpx.AsyncClient = client) -> bool:
            return (await client.get("/v1/models")).status_code == 401

        await until(asks, what="a gateway that asks for keys", log=system)
    secret: str = json.loads(made.out)["secret"]
    return secret


async def used(system: System) -> tuple[int, int, int]:
    """Tokens and requests that count in the key's limits, and what is reserved of the tokens."""
    shown = await system.run("admin", "api-keys", "show", "ci", "--json")
    tokens, requests = json.loads(shown.out)["limits"]
    return int(tokens["amountUsed"]), int(requests["amountUsed"]), int(tokens["amountReserved"])


def spend(system: System, secret: str, *, turns: int = TURNS) -> list[asyncio.Task[httpx.Response]]:
    """So many turns at each of both gateways, at once."""
    headers = {"authorization": f"Bearer {secret}"}
    body = a_turn("<<say:hello>>", model="gpt-5.5", stream=True)
    return [
        asyncio.create_task(client.post(CODEX, json=body, headers=headers))
        for client in system.clients
        for _ in range(turns)
    ]


async def all_held(system: System, turns: int) -> None:
    await system.upstream.wait_for_counters(lambda counters: counters.total.held >= turns)


async def test_a_key_is_charged_for_what_its_rows_say_whoever_is_killed_when(services: System) -> None:
    secret = await make_key(services)
    await asyncio.gather(*spend(services, secret))  # all goes well
    counted = (await services.upstream.counters()).total
    of_a_turn = (counted.input_tokens + counted.output_tokens) // (2 * TURNS)  # all are alike

    await services.upstream.script(ANY, then=hold())
    through_control = spend(services, secret)
    await all_held(services, 2 * TURNS)
    await services.control.kill()
    await services.upstream.release()
    await asyncio.gather(*through_control)
    await services.control.restart()
    await services.ready()

    with_gateway = spend(services, secret)
    await all_held(services, 2 * TURNS)
    await services.gateways[0].kill()
    await services.upstream.release()
    await asyncio.gather(*with_gateway, return_exceptions=True)
    await services.wait_for_status(lambda status: status.leases == 0, what="slots returned", within_s=15)
    await services.settled()

    told = services.query("select outcome, count(*), sum(total_tokens) from attempts group by outcome order by outcome")
    reserved = services.query("select reservation from attempts where outcome = 'abandoned'")
    guessed = sum(json.loads(str(row))[0]["amount"] for (row,) in reserved)
    assert told == [("abandoned", TURNS, None), ("completed", 5 * TURNS, 5 * TURNS * of_a_turn)]
    assert await used(services) == (5 * TURNS * of_a_turn + guessed, 6 * TURNS, 0)

    await services.control.restart(kill=True)
    await services.ready()
    assert await used(services) == (5 * TURNS * of_a_turn + guessed, 6 * TURNS, 0)


async def test_a_hundred_turns_through_two_controls_get_what_there_is_room_for_whatever_redis_forgets_and_who_is_killed(
    several: System, redis: RedisServer
) -> None:
    upstream = several.upstream
    secret = await make_key(several, tokens=str(ROOM * estimate_of_a_turn()))
    await upstream.script(ANY, then=hold())

    asking = spend(several, secret, turns=50)
    await all_held(several, ROOM)
    await until(lambda: sum(task.done() for task in asking) == 100 - ROOM, within_s=SETTLED_WITHIN_S, log=several)
    reserved = await used(several)
    redis.say("FLUSHALL")
    await several.more_controls[0].kill()
    late = await asyncio.gather(*spend(several, secret, turns=10))
    await upstream.release()
    answers = await asyncio.gather(*asking)
    await several.settled(within_s=SETTLED_WITHIN_S)

    counted = (await upstream.counters()).total
    assert sorted(answer.status_code for answer in answers) == [200] * ROOM + [429] * (100 - ROOM)
    assert {answer.status_code for answer in late} <= {429, 503}
    assert reserved == (0, 0, ROOM * estimate_of_a_turn())
    assert counted.turns == ROOM
    assert await used(several) == (counted.input_tokens + counted.output_tokens, ROOM, 0)


def estimate_of_a_turn() -> int:
    """Tokens that are reserved for one: its body and what it may answer (architecture, "Keys and limits")."""
    body = httpx.Request("POST", "http://x", json=a_turn("<<say:hello>>", model="gpt-5.5", stream=True)).content
    return math.ceil(len(body) / 4) + 2048

"""Gateway and control are killed while a key spends: whatever does not add up is a row that says `abandoned`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.system import System, a_turn, start_services, until
from tests.support.upstream import ANY, Upstream, hold, start_upstream

CODEX = "/backend-api/codex/responses"
TURNS = 6  # at each gateway, in each round


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


async def make_key(system: System) -> str:
    """A key with a limit on tokens, which every gateway asks for; the key itself."""
    made = await system.run(
        "admin", "api-keys", "create", "ci", "--limit", "10M tokens/month", "--limit", "1000 requests/day", "--json"
    )
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


def spend(system: System, secret: str) -> list[asyncio.Task[httpx.Response]]:
    """Turns at both gateways, at once."""
    headers = {"authorization": f"Bearer {secret}"}
    body = a_turn("<<say:hello>>", model="gpt-5.5", stream=True)
    return [
        asyncio.create_task(client.post(CODEX, json=body, headers=headers))
        for client in system.clients
        for _ in range(TURNS)
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

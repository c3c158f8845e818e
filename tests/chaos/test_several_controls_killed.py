"""Two controls on one PostgreSQL and one Redis, three gateways, an account with three slots: whoever dies, nothing leaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.databases import postgresql_server, postgresql_template, postgresql_url
from tests.support.redis_server import RedisServer, running_redis
from tests.support.system import System, a_turn, start_services
from tests.support.upstream import Upstream, hold, start_upstream

__all__ = ["postgresql_server", "postgresql_template", "postgresql_url"]

SLOTS, CLIENTS, TURNS_EACH = 3, 30, 4
START_WITHIN_S = 60.0  # six cold interpreters at once
LONG_S = 60.0  # for clients that share three slots on a busy machine


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def system(upstream: Upstream, redis: RedisServer, postgresql_url: str, tmp_path: Path) -> AsyncIterator[System]:
    """Six processes."""
    env = {"CODEX_LB_REDIS_URL": redis.url, "CODEX_LB_PROXY_ACCOUNT_STREAM_LIMIT": str(SLOTS)}
    async with start_services(
        upstream, tmp_path, gateways=3, controls=2, env=env, database_url=postgresql_url, wait=False
    ) as running:
        await running.ready(within_s=START_WITHIN_S)
        yield running


async def test_a_killed_control_and_a_flushed_redis_lose_no_turn_and_never_let_a_fourth_one_in(
    system: System, redis: RedisServer
) -> None:
    await system.add("only")
    await system.models_known()
    statuses: list[int] = []
    half = asyncio.Event()

    async def client(number: int) -> None:
        for _ in range(TURNS_EACH):
            answer = None
            while answer is None or answer.status_code in {429, 503}:  # what a client tries again
                answer = await system.clients[number % 3].post("/v1/responses", json=a_turn(), timeout=LONG_S)
            statuses.append(answer.status_code)
            if len(statuses) > CLIENTS:
                half.set()

    async def trouble() -> None:
        await half.wait()
        redis.say("FLUSHALL")
        await system.more_controls[0].kill()

    await asyncio.gather(trouble(), *(client(number) for number in range(CLIENTS)))

    assert statuses == [200] * (CLIENTS * TURNS_EACH)
    assert (await system.upstream.counters()).accounts["only"].open_peak <= SLOTS
    await system.wait_for_status(lambda status: status.leases == 0, what="slots returned", within_s=15)


async def test_a_killed_gateway_returns_its_slots_through_whichever_control_is_left(system: System) -> None:
    await system.add("only")
    await system.models_known()
    await system.upstream.script("only", then=hold())
    lost = [asyncio.create_task(system.clients[0].post("/v1/responses", json=a_turn())) for _ in range(SLOTS)]
    await system.upstream.wait_for(lambda s: s.held == SLOTS)

    await system.more_controls[0].kill()
    await system.gateways[0].kill()
    await asyncio.gather(*lost, return_exceptions=True)

    await system.wait_for_status(lambda status: status.leases == 0, what="slots returned", within_s=15)

"""Control dies while streams run: no stream breaks, nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.system import System, a_turn, start_services
from tests.support.turns import events_of
from tests.support.upstream import Upstream, hold, start_upstream

STREAMS = 20


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with start_upstream() as upstream:
        yield upstream


@pytest.fixture
async def services(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """The three-process form."""
    async with start_services(upstream, tmp_path) as system:
        yield system


def usage_of(stream: bytes) -> int:
    """Total tokens of a stream that completed."""
    last = events_of(stream)[-1]
    assert last["type"] == "response.completed"
    total: int = last["response"]["usage"]["total_tokens"]
    return total


async def test_streams_outlive_a_killed_control_and_are_settled_when_it_returns(services: System) -> None:
    names = ["a", "b", "c", "d"]
    await services.add(*names)
    for name in names:
        await services.upstream.script(name, then=hold())
    body = a_turn("<<say:still here>>", model="gpt-5.5", stream=True)
    streams = [
        asyncio.create_task(services.client.post("/backend-api/codex/responses", json=body)) for _ in range(STREAMS)
    ]
    await services.upstream.wait_for(lambda s: s.held == STREAMS)

    await services.control.kill()
    await services.upstream.release()
    answers = await asyncio.gather(*streams)
    await services.control.restart()
    await services.ready()
    await services.settled(turns=STREAMS)

    assert [a.status_code for a in answers] == [200] * STREAMS
    spent = sum(usage_of(a.content) for a in answers)
    recorded = services.query("select count(*), sum(total_tokens) from turns where outcome = 'completed'")
    assert recorded == [(STREAMS, spent)]
    attempts = services.query("select count(*), count(distinct lease_id) from attempts where outcome = 'completed'")
    assert attempts == [(STREAMS, STREAMS)]


async def test_leases_that_run_through_a_restart_keep_their_slots(services: System) -> None:
    await services.add("only")
    await services.upstream.script("only", then=hold())
    body = a_turn("<<say:held>>", model="gpt-5.5", stream=True)
    held = [asyncio.create_task(services.client.post("/backend-api/codex/responses", json=body)) for _ in range(8)]
    await services.upstream.wait_for(lambda s: s.held == 8)

    await services.control.restart(kill=True)
    await services.ready()
    await services.wait_for_status(lambda status: status.leases == 8, what="eight leases announced")
    ninth = asyncio.create_task(services.client.post("/backend-api/codex/responses", json=body))
    refused = await ninth

    assert refused.status_code == 429
    await services.upstream.release()
    assert [a.status_code for a in await asyncio.gather(*held)] == [200] * 8
    assert (await services.upstream.counters()).accounts["only"].open_peak == 8


async def test_a_turn_waits_for_a_control_that_restarts(services: System) -> None:
    await services.add("a")
    await services.control.kill()
    body = a_turn("<<say:worth the wait>>", model="gpt-5.5", stream=True)
    waiting = asyncio.create_task(services.client.post("/backend-api/codex/responses", json=body))

    await services.control.restart()

    answer = await waiting
    assert answer.status_code == 200
    assert b"worth the wait" in answer.content


async def test_a_killed_gateway_returns_its_slots_and_its_turns_are_told_as_abandoned(services: System) -> None:
    await services.add("a")
    await services.upstream.script("a", then=hold())
    body = a_turn("<<say:lost>>", model="gpt-5.5", stream=True)
    lost = [asyncio.create_task(services.client.post("/backend-api/codex/responses", json=body)) for _ in range(3)]
    await services.upstream.wait_for(lambda s: s.held == 3)

    await services.gateway.kill()
    await asyncio.gather(*lost, return_exceptions=True)

    await services.wait_for_status(lambda status: status.leases == 0, what="slots returned", within_s=15)
    await services.settled()
    assert services.query("select count(*) from attempts where outcome = 'abandoned'") == [(3,)]

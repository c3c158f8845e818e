"""`codex-lb serve --gateways 2`: two gateway processes on one port, one control."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.support.system import System, a_turn, http_client, start_all_in_one, until
from tests.support.upstream import Upstream

TURNS = 24  # each on a connection of its own: that all of them meet the same gateway happens once in eight million runs


@pytest.fixture
async def system(upstream: Upstream, tmp_path: Path) -> AsyncIterator[System]:
    """`codex-lb serve --gateways 2`, with an empty pool."""
    await upstream.reset(accounts=True)
    async with start_all_in_one(upstream, tmp_path, env={"CODEX_LB_GATEWAYS": "2"}) as system:
        await system.wait_for_status(lambda status: len(status.gateways) == 2)
        yield system


async def test_turns_are_spread_over_the_gateways_and_settled_by_one_control(system: System) -> None:
    await system.add("ada")

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(http_client(system.base_url)) for _ in range(TURNS)]
        statuses = [(await client.post("/v1/responses", json=a_turn())).status_code for client in clients]
        connections = [connections_of(pid, system) for pid in gateways_of(system)]
    await system.settled(turns=TURNS)

    assert set(statuses) == {200}
    assert (min(connections) > 0, sum(connections)) == (True, TURNS)
    assert system.query("SELECT count(*) FROM turns") == [(TURNS,)]


async def test_a_gateway_that_dies_is_started_anew_and_the_other_serves_meanwhile(system: System) -> None:
    await system.add("ada")
    killed, kept = gateways_of(system)

    os.kill(killed, signal.SIGKILL)
    await until(lambda: len(gateways_of(system) - {killed}) == 2, what="another gateway", log=system)
    statuses = [await turn_on_a_connection_of_its_own(system) for _ in range(TURNS)]

    assert set(statuses) == {200}
    assert kept in gateways_of(system)


async def test_the_admin_api_answers_at_every_gateway(system: System) -> None:
    statuses = []
    for _ in range(TURNS):
        async with http_client(system.base_url) as client:
            answer = await client.post("/api/codex_lb.api.admin.v1.SystemService/GetStatus", json={})
            statuses.append((answer.status_code, len(answer.json()["gateways"])))

    assert set(statuses) == {(200, 2)}


async def test_all_gateways_end_with_their_control(system: System) -> None:
    gateways = gateways_of(system)

    await system.control.kill()

    await until(lambda: not any(map(is_running, gateways)), what="the end of the gateways", log=system)


async def turn_on_a_connection_of_its_own(system: System) -> int:
    async with http_client(system.base_url) as client:
        return (await client.post("/v1/responses", json=a_turn())).status_code


def gateways_of(system: System) -> set[int]:
    """The processes."""
    return {child.pid for child in psutil.Process(system.control.pid).children() if is_running(child.pid)}


def is_running(pid: int) -> bool:
    """Whether there is such a process, and more than its name is left of it."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def connections_of(pid: int, system: System) -> int:
    """Clients that are connected to a gateway process."""
    port = urlsplit(system.base_url).port
    connections = psutil.Process(pid).net_connections("tcp")
    return sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in connections)

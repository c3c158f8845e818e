"""The simulator as a process: it serves many at once and never outlives its test."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import msgspec

from tests.integration.simulator.turns import create, kinds
from tests.support import upstream as sim
from tests.support.upstream import Upstream, start_upstream

ROOT = Path(__file__).resolve().parents[3]


async def test_two_hundred_streams_are_open_at_once(upstream: Upstream) -> None:
    account = await upstream.add_account("a")
    await upstream.script("a", then=sim.hold())
    answers: list[httpx.Response] = []

    async def ask(client: httpx.AsyncClient) -> None:
        answers.append(await create(client, account))

    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=upstream.base_url, trust_env=False, timeout=30, limits=limits) as client,
        anyio.create_task_group() as asking,
    ):
        for _ in range(200):
            asking.start_soon(ask, client)
        counters = await upstream.wait_for_counters(lambda counters: counters.total.held == 200)
        await upstream.release()

    assert counters.accounts["a"].open_peak == 200
    assert {kinds(answer.content)[-1] for answer in answers} == {"response.completed"}


async def test_a_load_test_may_do_without_bytes(upstream: Upstream, client: httpx.AsyncClient) -> None:
    account = await upstream.add_account("a")
    await upstream.keep_bytes(keep=False)

    await create(client, account)

    turn = await upstream.turn()
    assert (turn.body, turn.answer, turn.ended) == (None, b"", "complete")


async def test_it_ends_with_its_block() -> None:
    async with start_upstream() as upstream:
        url = upstream.base_url

    async with httpx.AsyncClient(trust_env=False) as client:
        refused = await _is_refused(client, url)
    assert refused


async def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = [
        sys.executable,
        "-m",
        "tests.support.simulator",
        "--port",
        "0",
        "--state-file",
        str(state),
        "--with-parent",
    ]
    process = await anyio.open_process(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    async with process:
        assert process.stdout is not None
        assert process.stdin is not None
        announced = await process.stdout.receive()

        await process.stdin.aclose()  # what the kernel does when the parent dies
        with anyio.fail_after(10):
            code = await process.wait()

    assert code == 0
    assert state.read_bytes() == announced
    assert msgspec.json.decode(announced)["pid"] == process.pid


async def test_it_stops_on_a_signal_although_streams_are_open() -> None:
    async with start_upstream() as upstream, httpx.AsyncClient(base_url=upstream.base_url, trust_env=False) as client:
        account = await upstream.add_account("a")
        await upstream.script("a", sim.hang())
        async with anyio.create_task_group() as asking:
            asking.start_soon(_until_cut, client, account)
            await upstream.wait_for(lambda seen: seen.open == 1)

            os.kill(upstream.pid, signal.SIGTERM)


async def _until_cut(client: httpx.AsyncClient, account: sim.SimAccount) -> None:
    assert await _breaks(client, account)


async def _breaks(client: httpx.AsyncClient, account: sim.SimAccount) -> bool:
    try:
        await create(client, account)
    except httpx.TransportError:
        return True
    return False


async def _is_refused(client: httpx.AsyncClient, url: str) -> bool:
    try:
        await client.get(url)
    except httpx.ConnectError:
        return True
    return False

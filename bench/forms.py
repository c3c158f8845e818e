"""Figures of the product in forms of its own: with many accounts, with fewer checks, with several gateways, just started."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx

from bench import names as n
from bench.costs import short_by_name
from bench.load import closed_loop
from bench.loads import CLIENTS, SHORT, body
from bench.measured import Figures, Rounds, is_steady
from bench.process import beside, cpu_s, tree, unpin
from bench.subjects import QUIET, Source, Started, Subject, all_in_one, made, split
from tests.support.system import http_client, start_all_in_one, until
from tests.support.upstream import Upstream

POOLS = (10, 1_000, 10_000)
FOLDERS = {n.POOLS: "pool", n.CHECKS: "checks"}
STARTS_MAX = 8
ROUND_S = 0.6
NOBODY_MINDS_S = 0.1


async def pools(source: Source, folder: Path, *, rounds: int) -> Figures:
    """CPU of a short turn with ever more accounts and keys."""
    starts: dict[str, Started] = {f"{size:,}": partial(split, accounts=size) for size in POOLS}
    return await _side_by_side(n.POOLS, starts, source, folder, rounds=rounds)


async def checks(source: Source, folder: Path, *, rounds: int) -> Figures:
    """CPU of a short turn with everything on, and with parts of it off: the keys with their limits, the log line."""
    starts: dict[str, Started] = {
        "all of it": split,
        "no keys": partial(split, keys=False),
        "no log lines": partial(split, env={"CODEX_LB_LOG_LEVEL": "WARNING"}),
    }
    return await _side_by_side(n.CHECKS, starts, source, folder, rounds=rounds)


async def _side_by_side(name: str, starts: dict[str, Started], source: Source, folder: Path, *, rounds: int) -> Figures:
    async with AsyncExitStack() as stack:
        subjects: dict[str, Subject] = {}
        for called, start in starts.items():
            subjects[called] = await stack.enter_async_context(
                start(source.url, folder / f"{FOLDERS[name]}-{len(subjects)}")
            )
        return await short_by_name(name, subjects, source, rounds=rounds, seconds=ROUND_S)


async def gateways(source: Source, folder: Path, *, rounds: int) -> Figures:
    """Turns a second that two cores carry, by what CPU each process needs: the fullest decides, or both cores' sum."""
    carried = Rounds()
    async with AsyncExitStack() as stack:
        subjects: dict[str, Subject] = {}
        for number in ("1", "2"):
            started = all_in_one(source.url, folder / f"gateways-{number}", env={"CODEX_LB_GATEWAYS": number})
            subjects[number] = await stack.enter_async_context(started)
        with beside(urgent=False) as others:
            for _ in range(rounds):
                for number, subject in subjects.items():
                    carried.add(number, await _carried(subject))
    return {n.GATEWAYS: carried.measured(others.note)}


async def _carried(subject: Subject) -> float:
    [root] = subject.pids
    unpin(root)
    pids = tree(root)
    data = subject.request(body(1024), SHORT)
    before = {pid: cpu_s([pid], alone=True) for pid in pids}
    turns = (await closed_loop(subject.url, data, clients=4 * CLIENTS, seconds=2 * ROUND_S)).turns
    used = [(cpu_s([pid], alone=True) - before[pid]) / turns for pid in pids]
    return min(1 / max(used), 2 / sum(used))


async def start(source: Source, folder: Path) -> Figures:
    """From `codex-lb serve` to its first answer, and the CPU it took, with a data folder that is there."""
    took, cpu = Rounds(), Rounds()
    made(folder / "start")
    await _started(source, folder / "start")  # makes the data folder, reads what is read from the disk
    with beside(urgent=True) as others:
        for _ in range(STARTS_MAX):
            answered_s, used_s = await _started(source, folder / "start")
            took.add("all-in-one", answered_s)
            cpu.add("all-in-one", used_s)
            if is_steady(took.seen["all-in-one"], within=NOBODY_MINDS_S, share=0.1):
                break
    return {n.START: took.measured(others.note), n.START_CPU: cpu.measured(others.note)}


async def _started(source: Source, folder: Path) -> tuple[float, float]:
    """Seconds until it answers, and of CPU until then."""
    async with (
        http_client(source.url) as client,
        start_all_in_one(Upstream(source.url, 0, client), folder, env=QUIET, wait=False) as system,
    ):
        started = time.monotonic()
        unpin(system.control.pid)

        async def answers() -> bool:
            try:
                return (await system.client.get("/v1/models")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, what="first answer", log=system)
        found = time.monotonic() - started, cpu_s([system.control.pid])
        await system.control.stop()
        return found
